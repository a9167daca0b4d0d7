-- Access: people whom an OpenID provider names.

comment on column users.password_hash is 'argon2id, with its salt and parameters; empty: none, the user logs in by a provider.';

create table identities (
  issuer text not null,
  subject text not null,
  user_id uuid not null references users on delete cascade,
  email text not null,
  created_at timestamptz not null default now(),
  last_used_at timestamptz not null default now(),
  primary key (issuer, subject)
);
create unique index identities_user on identities (user_id, issuer);
comment on table identities is 'Whom an OpenID provider means by a subject: one user, who has one subject of each provider.';
comment on column identities.issuer is 'The provider, as its tokens name it.';
comment on column identities.subject is 'The person, as the provider names them; it never changes.';
comment on column identities.user_id is 'Our user (users.id).';
comment on column identities.email is 'The address that the provider had verified at the last login, lower case.';
comment on column identities.created_at is 'When the two were linked.';
comment on column identities.last_used_at is 'When the user last logged in by it.';
