-- Access: keys with scopes, deployments and rotation, invitations, shared rate limits, idempotency keys, secrets,
-- a node policy.

alter table api_keys
  add column scopes text[],
  add column deployment_ids uuid[],
  add column previous_hash bytea unique,
  add column previous_until timestamptz;
comment on column api_keys.scopes is 'What the key may do of what its role allows, as resource:action; null: all of it.';
comment on column api_keys.deployment_ids is 'The only deployments whose runs it may start and see; null: all.';
comment on column api_keys.previous_hash is 'sha256 of the key before the last rotation; null: it was never rotated.';
comment on column api_keys.previous_until is 'The key before the last rotation works until then.';

alter table organisations add column node_policy jsonb not null default '{}';
comment on column organisations.node_policy is 'Which node classes may run (orchestrator.runs.policy.NodePolicy); {}: all.';

create table invitations (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  email text not null check (email = lower(email)),
  role member_role not null,
  token_hash bytea not null unique,
  created_by uuid references users on delete set null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  accepted_at timestamptz,
  revoked_at timestamptz
);
create unique index invitations_open on invitations (organisation_id, email)
  where accepted_at is null and revoked_at is null;
create index invitations_organisation on invitations (organisation_id, id desc);
comment on table invitations is 'Somebody is asked to join a team; the token is shown once and works once.';
comment on column invitations.id is 'UUIDv7.';
comment on column invitations.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column invitations.email is 'Whom it is for, lower case; one open invitation for each address of a team.';
comment on column invitations.role is 'What the new member will be.';
comment on column invitations.token_hash is 'sha256 of the token.';
comment on column invitations.created_by is 'Who invited (users.id); null for an API key or when that user is gone.';
comment on column invitations.created_at is 'When the row was made.';
comment on column invitations.expires_at is 'Refused from then on.';
comment on column invitations.accepted_at is 'When it was accepted; refused from then on.';
comment on column invitations.revoked_at is 'Set: refused.';

create unlogged table rate_buckets (
  name text primary key,
  full_at timestamptz not null,
  granted integer not null
) with (fillfactor = 50);
comment on table rate_buckets is 'Token buckets that all replicas draw from, in portions. Unlogged: a crash fills every bucket.';
comment on column rate_buckets.name is 'Whose: key:<id>, user:<id>, login:... .';
comment on column rate_buckets.full_at is 'When the bucket will be full again if nobody draws.';
comment on column rate_buckets.granted is 'How many tokens the last draw got.';

create table idempotency_keys (
  organisation_id uuid not null references organisations on delete cascade,
  credential text not null,
  route text not null,
  key_hash bytea not null,
  request_hash bytea not null,
  run_id uuid,
  status smallint,
  answer bytea,
  created_at timestamptz not null default now(),
  locked_until timestamptz not null default now(),
  expires_at timestamptz not null,
  primary key (organisation_id, credential, route, key_hash)
);
create index idempotency_keys_expired on idempotency_keys (expires_at);
comment on table idempotency_keys is 'What was answered to a request with an Idempotency-Key, so that its repetition gets the same.';
comment on column idempotency_keys.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column idempotency_keys.credential is 'Who sent it: key:<id> or user:<id>.';
comment on column idempotency_keys.route is 'Method and path.';
comment on column idempotency_keys.key_hash is 'sha256 of the Idempotency-Key.';
comment on column idempotency_keys.request_hash is 'sha256 of the body: another body under the same key is refused.';
comment on column idempotency_keys.run_id is 'The run it started (runs.id, not enforced); null: it made something else.';
comment on column idempotency_keys.status is 'HTTP status of the answer; null: being worked on, or a run, whose answer is made from its id.';
comment on column idempotency_keys.answer is 'Headers and body of the answer, encrypted; null as status.';
comment on column idempotency_keys.created_at is 'When the request came.';
comment on column idempotency_keys.locked_until is 'Until then a repetition is told to wait; later the first is given up.';
comment on column idempotency_keys.expires_at is 'Forgotten from then on.';

create table secrets (
  organisation_id uuid not null references organisations on delete cascade,
  name text not null,
  sealed bytea not null,
  seal_key text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organisation_id, name)
);
create index secrets_seal_key on secrets (seal_key);
comment on table secrets is 'Values that a team keeps with us, encrypted with a key derived from the master key.';
comment on column secrets.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column secrets.name is 'What the team calls it; unique in the team.';
comment on column secrets.sealed is 'AES-256-GCM: nonce, ciphertext and tag; bound to team and name.';
comment on column secrets.seal_key is 'Which master key sealed it, so that a new one can seal it again.';
comment on column secrets.created_by is 'Who last set it: user:<id> or key:<id>.';
comment on column secrets.created_at is 'When it was first set.';
comment on column secrets.updated_at is 'When it was last set.';
