-- Access: people whom an OpenID provider names; revisions of what people change, for ETags.

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

alter table organisations add column revision integer not null default 1;
comment on column organisations.revision is 'Grows by one with every change that somebody makes (trigger): in its ETag.';
alter table memberships add column revision integer not null default 1;
comment on column memberships.revision is 'Grows by one with every change that somebody makes (trigger): in its ETag.';
alter table api_keys add column revision integer not null default 1;
comment on column api_keys.revision is 'Grows by one with every change that somebody makes (trigger): in its ETag.';
alter table machines add column revision integer not null default 1;
comment on column machines.revision is 'Grows by one with every change that somebody makes (trigger): in its ETag.';
alter table webhook_endpoints add column revision integer not null default 1;
comment on column webhook_endpoints.revision is 'Grows by one with every change that somebody makes (trigger): in its ETag.';
alter table run_marks add column revision integer not null default 1;
comment on column run_marks.revision is 'Grows by one with every change that somebody makes (trigger): in its ETag.';

create function next_revision() returns trigger language plpgsql as $$
begin
  new.revision := old.revision + 1;
  return new;
end $$;
create trigger organisations_revised before update on organisations for each row
  when ((old.name, old.node_policy) is distinct from (new.name, new.node_policy))
  execute function next_revision();
create trigger memberships_revised before update on memberships for each row
  when (old.role is distinct from new.role)
  execute function next_revision();
create trigger api_keys_revised before update on api_keys for each row
  when ((old.key_hash, old.revoked_at) is distinct from (new.key_hash, new.revoked_at))
  execute function next_revision();
create trigger machines_revised before update on machines for each row
  when ((old.name, old.labels, old.policy, old.state, old.endpoint, old.endpoint_private, old.quarantine_reason) is distinct from (new.name, new.labels, new.policy, new.state, new.endpoint, new.endpoint_private, new.quarantine_reason))
  execute function next_revision();
create trigger webhook_endpoints_revised before update on webhook_endpoints for each row
  when ((old.url, old.events, old.secret_generation, old.disabled_at) is distinct from (new.url, new.events, new.secret_generation, new.disabled_at))
  execute function next_revision();
create trigger run_marks_revised before update on run_marks for each row
  when ((old.favourite, old.note, old.tags) is distinct from (new.favourite, new.note, new.tags))
  execute function next_revision();
