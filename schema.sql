-- The whole database of ComfyFleet: the truth. deploy/migrations/ is proven equal to this file by a test.
-- Works on PostgreSQL 15 to 18, needs no extension. Every id is a UUIDv7 made by the application.
-- Every row that belongs to a team carries organisation_id, and every query filters by it.

-- UUIDv7 for rows that SQL itself makes (the webhook outbox); PostgreSQL has its own only from 18 on.
create function uuid7() returns uuid language sql volatile parallel safe as $$
  select encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
    placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
    52, 1), 53, 1), 'hex')::uuid
$$;

create type member_role as enum ('owner', 'admin', 'developer', 'viewer', 'playground');
create type machine_kind as enum ('classic', 'runpod-serverless', 'modal-serverless', 'comfy-deploy-serverless');
create type machine_state as enum ('pending', 'ready', 'draining', 'quarantined', 'deleted');
create type deployment_environment as enum ('production', 'staging', 'preview', 'public-share', 'private-share');
create type run_status as enum ('not-started', 'queued', 'started', 'running', 'uploading', 'success', 'failed', 'timeout', 'cancelled');
create type run_origin as enum ('api', 'manual', 'retry', 'public-share');
create type attempt_state as enum ('placed', 'claimed', 'ended');
create type file_purpose as enum ('input', 'output');
create type file_state as enum ('pending', 'stored');
create type outbox_state as enum ('pending', 'delivered', 'dead');

create table organisations (
  id uuid primary key,
  name text not null,
  slug text not null unique,
  created_at timestamptz not null default now(),
  node_policy jsonb not null default '{}',
  revision integer not null default 1
);
comment on table organisations is 'A team: the border of everything; nobody sees another team''s rows.';
comment on column organisations.id is 'UUIDv7.';
comment on column organisations.name is 'Display name.';
comment on column organisations.slug is 'Short name for addresses; unique.';
comment on column organisations.created_at is 'When the row was made.';
comment on column organisations.node_policy is 'Which node classes may run (orchestrator.runs.policy.NodePolicy); {}: all.';
comment on column organisations.revision is 'Grows by one with every change that somebody makes (trigger): in its ETag.';

create table users (
  id uuid primary key,
  email text not null unique check (email = lower(email)),
  name text not null default '',
  password_hash text not null,
  created_at timestamptz not null default now(),
  disabled_at timestamptz
);
comment on table users is 'A person. What they may do is in memberships, per team.';
comment on column users.id is 'UUIDv7.';
comment on column users.email is 'Login name, lower case; unique.';
comment on column users.name is 'Display name.';
comment on column users.password_hash is 'argon2id, with its salt and parameters; empty: none, the user logs in by a provider.';
comment on column users.created_at is 'When the row was made.';
comment on column users.disabled_at is 'Set: the user may not log in.';

create table memberships (
  organisation_id uuid not null references organisations on delete cascade,
  user_id uuid not null references users on delete cascade,
  role member_role not null,
  created_at timestamptz not null default now(),
  revision integer not null default 1,
  primary key (organisation_id, user_id)
);
create index memberships_user on memberships (user_id);
comment on table memberships is 'Which user belongs to which team, and as what.';
comment on column memberships.organisation_id is 'The team (organisations.id).';
comment on column memberships.user_id is 'The member (users.id).';
comment on column memberships.role is 'What the member may do there.';
comment on column memberships.created_at is 'When the user joined.';
comment on column memberships.revision is 'Grows by one with every change that somebody makes (trigger): in its ETag.';

create table sessions (
  id uuid primary key,
  user_id uuid not null references users on delete cascade,
  organisation_id uuid not null references organisations on delete cascade,
  user_agent text not null default '',
  created_at timestamptz not null default now(),
  last_used_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz
);
create index sessions_user on sessions (user_id);
comment on table sessions is 'A login. Its refresh tokens rotate; one used twice revokes the session.';
comment on column sessions.id is 'UUIDv7; named in the access tokens given out under it.';
comment on column sessions.user_id is 'Who logged in (users.id).';
comment on column sessions.organisation_id is 'The team that the login acts for (organisations.id).';
comment on column sessions.user_agent is 'What the browser called itself, for the list of logins.';
comment on column sessions.created_at is 'When the user logged in.';
comment on column sessions.last_used_at is 'When a refresh token was last traded.';
comment on column sessions.expires_at is 'No refresh after this.';
comment on column sessions.revoked_at is 'Set: logged out, or a refresh token was used twice.';

create table refresh_tokens (
  token_hash bytea primary key,
  session_id uuid not null references sessions on delete cascade,
  created_at timestamptz not null default now(),
  used_at timestamptz
);
create index refresh_tokens_session on refresh_tokens (session_id);
comment on table refresh_tokens is 'The refresh tokens of a session; each is traded once.';
comment on column refresh_tokens.token_hash is 'sha256 of the token.';
comment on column refresh_tokens.session_id is 'Its login (sessions.id).';
comment on column refresh_tokens.created_at is 'When it was given out.';
comment on column refresh_tokens.used_at is 'When it was traded; a second time revokes the session.';

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

create table api_keys (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  created_by uuid references users on delete set null,
  name text not null,
  key_hash bytea not null unique,
  hint text not null,
  role member_role not null default 'developer',
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz,
  scopes text[],
  deployment_ids uuid[],
  previous_hash bytea unique,
  previous_until timestamptz,
  revision integer not null default 1
);
create index api_keys_organisation on api_keys (organisation_id, id desc);
comment on table api_keys is 'A key that a program uses in place of a login.';
comment on column api_keys.id is 'UUIDv7.';
comment on column api_keys.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column api_keys.created_by is 'Who made it (users.id); null when that user is gone.';
comment on column api_keys.name is 'What its maker calls it.';
comment on column api_keys.key_hash is 'sha256 of the whole key; the key itself is shown once and not kept.';
comment on column api_keys.hint is 'Prefix and last four characters, to tell keys apart.';
comment on column api_keys.role is 'What the key may do.';
comment on column api_keys.created_at is 'When the row was made.';
comment on column api_keys.expires_at is 'Refused from then on; null: never.';
comment on column api_keys.last_used_at is 'When it was last used, to the minute or so.';
comment on column api_keys.revoked_at is 'Set: refused.';
comment on column api_keys.scopes is 'What the key may do of what its role allows, as resource:action; null: all of it.';
comment on column api_keys.deployment_ids is 'The only deployments whose runs it may start and see; null: all.';
comment on column api_keys.previous_hash is 'sha256 of the key before the last rotation; null: it was never rotated.';
comment on column api_keys.previous_until is 'The key before the last rotation works until then.';
comment on column api_keys.revision is 'Grows by one with every change that somebody makes (trigger): in its ETag.';

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
  machines jsonb,
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
comment on column secrets.machines is 'Labels of the machines that give it to their executors; null: it is given to none.';

create table machines (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  name text not null,
  kind machine_kind not null,
  state machine_state not null default 'pending',
  endpoint text,
  labels jsonb not null default '{}',
  slots integer not null default 0 check (slots between 0 and 1024),
  inventory jsonb not null default '{}',
  agent_version text not null default '',
  credential_hash bytea unique,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  enrolled_at timestamptz,
  deleted_at timestamptz,
  policy jsonb not null default '{}',
  quarantined_at timestamptz,
  quarantine_reason text,
  endpoint_private boolean not null default false,
  revision integer not null default 1,
  secrets_revision integer not null default 0
);
create unique index machines_name on machines (organisation_id, name) where deleted_at is null;
create index machines_organisation on machines (organisation_id, id desc) where deleted_at is null;
comment on table machines is 'A place that executes runs: an agent beside GPUs, a plain ComfyUI, or a provider''s endpoint.';
comment on column machines.id is 'UUIDv7.';
comment on column machines.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column machines.name is 'Display name; unique in the team among machines not deleted.';
comment on column machines.kind is 'Which driver reaches it.';
comment on column machines.state is 'pending until enrolled, ready, draining (finishes, takes nothing new), deleted.';
comment on column machines.endpoint is 'URL of a plain ComfyUI that is pushed to; null when an agent dials in.';
comment on column machines.labels is 'Names and values that a pool selects machines by: {"pool": "fast"}.';
comment on column machines.slots is 'How many runs it executes at once, as it last said.';
comment on column machines.inventory is 'GPUs, node classes and models it has (drivers.wire.Inventory).';
comment on column machines.agent_version is 'Version of the agent that last connected; empty: none yet.';
comment on column machines.credential_hash is 'sha256 of the agent''s credential; null until enrolled.';
comment on column machines.created_at is 'When the row was made.';
comment on column machines.updated_at is 'When this row last changed; heartbeats are in machine_beats.';
comment on column machines.enrolled_at is 'When an agent traded its token for the credential.';
comment on column machines.deleted_at is 'Set: kept for history only.';
comment on column machines.policy is 'What it may be given (orchestrator.wire.MachinePolicy).';
comment on column machines.quarantined_at is 'When it was quarantined; null: it is not.';
comment on column machines.quarantine_reason is 'Why it is quarantined, for people; null: it is not.';
comment on column machines.endpoint_private is 'The endpoint may lie at a private or loopback address: an administrator said so.';
comment on column machines.revision is 'Grows by one with every change that somebody makes (trigger): in its ETag.';
comment on column machines.secrets_revision is 'Rises whenever one of its secrets is set or deleted: its agent is told then.';

create table machine_secrets (
  organisation_id uuid not null references organisations on delete cascade,
  machine_id uuid not null references machines on delete cascade,
  name text not null,
  sealed bytea not null,
  seal_key text not null,
  fingerprint text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (machine_id, name)
);
create index machine_secrets_seal_key on machine_secrets (seal_key);
comment on table machine_secrets is 'Environment variables that a machine''s executors are given, encrypted with a key derived from the master key.';
comment on column machine_secrets.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column machine_secrets.machine_id is 'The machine (machines.id).';
comment on column machine_secrets.name is 'Name of the variable; unique on the machine.';
comment on column machine_secrets.sealed is 'AES-256-GCM: nonce, ciphertext and tag; bound to team, machine and name.';
comment on column machine_secrets.seal_key is 'Which master key sealed it, so that a new one can seal it again.';
comment on column machine_secrets.fingerprint is 'Keyed hash of the value: equal for equal values of a team.';
comment on column machine_secrets.created_by is 'Who last set it: user:<id> or key:<id>.';
comment on column machine_secrets.created_at is 'When it was first set.';
comment on column machine_secrets.updated_at is 'When it was last set.';

create table machine_beats (
  machine_id uuid primary key references machines on delete cascade,
  seen_at timestamptz not null,
  lease_until timestamptz not null,
  used_slots integer not null default 0,
  connected boolean not null default true
) with (fillfactor = 50);
comment on table machine_beats is 'Sign of life of a machine. Hot and small: one row a machine, rewritten by every heartbeat batch.';
comment on column machine_beats.machine_id is 'The machine (machines.id).';
comment on column machine_beats.seen_at is 'Its last heartbeat.';
comment on column machine_beats.lease_until is 'Without another heartbeat by then, the machine is lost and so are its attempts.';
comment on column machine_beats.used_slots is 'Slots in use, as the agent says.';
comment on column machine_beats.connected is 'Whether an agent''s connection is open.';

create table machine_speeds (
  machine_id uuid not null references machines on delete cascade,
  version_id uuid not null,
  execute_ms real not null,
  samples integer not null,
  updated_at timestamptz not null default now(),
  primary key (machine_id, version_id)
);
comment on table machine_speeds is 'How fast a machine executes a workflow version; used to choose between machines.';
comment on column machine_speeds.machine_id is 'The machine (machines.id).';
comment on column machine_speeds.version_id is 'The workflow version (workflow_versions.id, not enforced).';
comment on column machine_speeds.execute_ms is 'Moving average of the execute time, in milliseconds.';
comment on column machine_speeds.samples is 'How many attempts it is made of.';
comment on column machine_speeds.updated_at is 'When the last was added.';

create table enrol_tokens (
  token_hash bytea primary key,
  organisation_id uuid not null references organisations on delete cascade,
  machine_id uuid not null references machines on delete cascade,
  created_by uuid references users on delete set null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  used_at timestamptz
);
create index enrol_tokens_machine on enrol_tokens (machine_id);
comment on table enrol_tokens is 'A one-time token that an agent trades for its own credential.';
comment on column enrol_tokens.token_hash is 'sha256 of the token.';
comment on column enrol_tokens.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column enrol_tokens.machine_id is 'The machine it enrols (machines.id).';
comment on column enrol_tokens.created_by is 'Who asked for it (users.id); null for an API key or when that user is gone.';
comment on column enrol_tokens.created_at is 'When the row was made.';
comment on column enrol_tokens.expires_at is 'Refused from then on.';
comment on column enrol_tokens.used_at is 'When it was traded; refused from then on.';

create table workflows (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  name text not null,
  latest_version integer not null default 0,
  created_by uuid references users on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz,
  revision integer not null default 1,
  hidden boolean not null default false
);
create unique index workflows_hidden on workflows (organisation_id) where hidden;
create index workflows_organisation on workflows (organisation_id, id desc) where deleted_at is null;
comment on table workflows is 'A named line of versions.';
comment on column workflows.id is 'UUIDv7.';
comment on column workflows.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column workflows.name is 'Display name.';
comment on column workflows.latest_version is 'Counter that hands out version numbers; 0: no version yet.';
comment on column workflows.created_by is 'Who made it (users.id); null for an API key or when that user is gone.';
comment on column workflows.created_at is 'When the row was made.';
comment on column workflows.updated_at is 'When it was last renamed or got a version.';
comment on column workflows.deleted_at is 'Set: hidden; its runs stay.';
comment on column workflows.hidden is 'Holds the graphs that clients send whole; left out of lists, one for each team.';
comment on column workflows.revision is 'Grows by one with every change: its ETag.';

create table workflow_versions (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  workflow_id uuid not null references workflows on delete cascade,
  version integer not null check (version > 0),
  api_graph jsonb not null,
  ui_graph jsonb,
  snapshot jsonb,
  requirements jsonb not null,
  comment text not null default '',
  created_by uuid references users on delete set null,
  created_at timestamptz not null default now(),
  deleted_at timestamptz,
  unique (workflow_id, version)
);
create index workflow_versions_organisation on workflow_versions (organisation_id, id desc);
comment on table workflow_versions is 'A workflow as it was uploaded. Immutable: a trigger refuses every update but its deletion.';
comment on column workflow_versions.id is 'UUIDv7.';
comment on column workflow_versions.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column workflow_versions.workflow_id is 'Its workflow (workflows.id).';
comment on column workflow_versions.version is '1, 2, 3 ... within the workflow.';
comment on column workflow_versions.api_graph is 'The graph in ComfyUI''s API format: what is executed.';
comment on column workflow_versions.ui_graph is 'The graph as ComfyUI''s editor saves it; null when not uploaded.';
comment on column workflow_versions.snapshot is 'The environment it was made in: ComfyUI''s commit, node packs, hashes; null when not uploaded.';
comment on column workflow_versions.requirements is 'Node classes and models a machine must have (orchestrator.runs.requirements.Requirements).';
comment on column workflow_versions.comment is 'What the uploader says changed.';
comment on column workflow_versions.created_by is 'Who uploaded it (users.id); null for an API key or when that user is gone.';
comment on column workflow_versions.created_at is 'When the row was made.';
comment on column workflow_versions.deleted_at is 'Set: hidden, and takes no new runs; its runs stay. The only column that ever changes.';

create table deployments (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  workflow_id uuid not null references workflows on delete cascade,
  version_id uuid not null references workflow_versions,
  environment deployment_environment not null,
  machine_id uuid references machines on delete set null,
  pool jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz,
  revision integer not null default 1,
  alias text check (alias ~ '^[a-z][a-z0-9-]{0,62}$'),
  description text not null default '',
  split jsonb not null default '[]'
);
create unique index deployments_environment on deployments (workflow_id, environment) where deleted_at is null;
create unique index deployments_alias on deployments (organisation_id, alias) where deleted_at is null;
create index deployments_organisation on deployments (organisation_id, id desc) where deleted_at is null;
comment on table deployments is 'A version made callable under an environment, on a pool of machines.';
comment on column deployments.id is 'UUIDv7.';
comment on column deployments.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column deployments.workflow_id is 'Its workflow (workflows.id).';
comment on column deployments.version_id is 'The version that runs started now will execute (workflow_versions.id).';
comment on column deployments.environment is 'production, staging ...: one live deployment for each of a workflow''s environments.';
comment on column deployments.machine_id is 'Pinned to this machine (machines.id); null: any machine of the pool.';
comment on column deployments.pool is 'Labels that a machine must carry; {} admits every machine of the team.';
comment on column deployments.created_at is 'When the row was made.';
comment on column deployments.updated_at is 'When it was last pointed elsewhere.';
comment on column deployments.deleted_at is 'Set: takes no new runs.';
comment on column deployments.revision is 'Grows by one with every change: its ETag.';
comment on column deployments.alias is 'A name of its own in the team that runs may be started by; null: none.';
comment on column deployments.description is 'What it is for, in people''s words.';
comment on column deployments.split is 'Other versions that take a share of its runs: [{version_id, percent}]; the rest goes to version_id.';

create table deployment_history (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  deployment_id uuid not null references deployments on delete cascade,
  revision integer not null,
  action text not null,
  version_id uuid not null references workflow_versions,
  split jsonb not null default '[]',
  machine_id uuid,
  pool jsonb not null default '{}',
  actor text not null,
  created_at timestamptz not null default now()
);
create index deployment_history_deployment on deployment_history (deployment_id, id desc);
comment on table deployment_history is 'What a deployment pointed to, one row for each change of it: who, when, and what a rollback goes back to.';
comment on column deployment_history.id is 'UUIDv7.';
comment on column deployment_history.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column deployment_history.deployment_id is 'The deployment (deployments.id).';
comment on column deployment_history.revision is 'The deployment''s revision from then on.';
comment on column deployment_history.action is 'deploy, change, promote or rollback.';
comment on column deployment_history.version_id is 'What it pointed to from then on (workflow_versions.id).';
comment on column deployment_history.split is 'How runs were divided from then on, as deployments.split.';
comment on column deployment_history.machine_id is 'The machine it was pinned to from then on (machines.id, not enforced); null: none.';
comment on column deployment_history.pool is 'The labels its machines had to carry from then on.';
comment on column deployment_history.actor is 'Who did it, as in audit_log.';
comment on column deployment_history.created_at is 'When.';

create table shares (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  deployment_id uuid not null references deployments on delete cascade,
  slug text not null unique,
  title text not null,
  description text not null default '',
  created_by uuid references users on delete set null,
  created_at timestamptz not null default now(),
  revoked_at timestamptz
);
create index shares_organisation on shares (organisation_id, id desc) where revoked_at is null;
create index shares_deployment on shares (deployment_id);
comment on table shares is 'A link to a page where others run a deployment: of the team (private-share), or anyone (public-share).';
comment on column shares.id is 'UUIDv7.';
comment on column shares.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column shares.deployment_id is 'What is run (deployments.id).';
comment on column shares.slug is 'The name in the link; unique, never used again.';
comment on column shares.title is 'What the page is headed with.';
comment on column shares.description is 'What the page says about it.';
comment on column shares.created_by is 'Who made it (users.id); null for an API key or when that user is gone.';
comment on column shares.created_at is 'When the row was made.';
comment on column shares.revoked_at is 'Set: the link leads nowhere.';

create table runs (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  workflow_id uuid not null,
  version_id uuid not null references workflow_versions on delete cascade,
  deployment_id uuid references deployments on delete set null,
  origin run_origin not null default 'api',
  status run_status not null default 'not-started',
  revision integer not null default 1,
  priority smallint not null default 0,
  lane bigint not null,
  pool jsonb not null default '{}',
  pinned_machine_id uuid,
  inputs jsonb not null default '{}',
  max_attempts smallint not null default 3,
  timeout_s integer not null default 3600,
  attempts smallint not null default 0,
  faults smallint not null default 0,
  attempt_id uuid,
  machine_id uuid,
  sequence integer not null default 0,
  not_before timestamptz not null default now(),
  failure jsonb,
  webhook_url text,
  created_by uuid,
  created_at timestamptz not null default now(),
  queued_at timestamptz,
  started_at timestamptz,
  running_at timestamptz,
  uploading_at timestamptz,
  ended_at timestamptz,
  batch_id uuid,
  retry_of uuid,
  api_key_id uuid,
  webhook_shape text,
  metadata jsonb not null default '{}'
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
create index runs_waiting on runs (priority desc, id) where status = 'not-started';
create index runs_organisation on runs (organisation_id, id desc);
create index runs_deployment on runs (deployment_id, id desc) where deployment_id is not null;
create index runs_batch on runs (batch_id, id desc) where batch_id is not null;
create index runs_metadata on runs using gin (metadata jsonb_path_ops) where metadata <> '{}';
comment on table runs is 'One request to execute a workflow version. Its life is orchestrator/runs/state.py.';
comment on column runs.id is 'UUIDv7; orders runs by time.';
comment on column runs.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column runs.workflow_id is 'Its workflow, copied from the version (workflows.id, not enforced).';
comment on column runs.version_id is 'What is executed (workflow_versions.id).';
comment on column runs.deployment_id is 'The deployment it was started through (deployments.id); null: none.';
comment on column runs.origin is 'What started it.';
comment on column runs.status is 'Where it is in its life; success, failed, timeout and cancelled are final.';
comment on column runs.revision is 'Grows by one with every accepted change; the guard of every update.';
comment on column runs.priority is 'Larger goes first.';
comment on column runs.lane is 'Hash of (organisation, version, pool, machine): runs of one lane fit the same machines.';
comment on column runs.pool is 'Labels that its machine must carry, copied from the deployment.';
comment on column runs.pinned_machine_id is 'The only machine that may take it (machines.id, not enforced); null: any that fits.';
comment on column runs.inputs is 'Values for the workflow''s external inputs, by input id.';
comment on column runs.max_attempts is 'Given up after so many faults.';
comment on column runs.timeout_s is 'Seconds that an attempt may take from its start to its end.';
comment on column runs.attempts is 'How many attempts were made.';
comment on column runs.faults is 'How many of them failed in a way the run may be to blame for.';
comment on column runs.attempt_id is 'The attempt that holds the run now (attempts.id, not enforced); null: none.';
comment on column runs.machine_id is 'Machine of the present or last attempt (machines.id, not enforced).';
comment on column runs.sequence is 'Last event number taken from the present attempt.';
comment on column runs.not_before is 'Not placed earlier: back-off before the next attempt.';
comment on column runs.failure is 'Why the last attempt ended badly (drivers.wire.Failure); null: it did not.';
comment on column runs.webhook_url is 'Told of every change of status, besides the team''s endpoints; null: none.';
comment on column runs.created_by is 'Who started it (users.id, not enforced); null for an API key.';
comment on column runs.created_at is 'When it was accepted.';
comment on column runs.queued_at is 'When it was last given to a machine.';
comment on column runs.started_at is 'When the present or last attempt was claimed.';
comment on column runs.running_at is 'When the executor began that attempt.';
comment on column runs.uploading_at is 'When that attempt began to upload outputs.';
comment on column runs.ended_at is 'When it reached a final status; null: it has not.';
comment on column runs.batch_id is 'The batch it was started with (batches.id, not enforced); null: alone.';
comment on column runs.retry_of is 'The run that it repeats (runs.id, not enforced); null: none.';
comment on column runs.api_key_id is 'The key it was started with (api_keys.id, not enforced); null: a login or a link.';
comment on column runs.webhook_shape is 'In whose words webhook_url is told: comfydeploy, comfydeploy-intermediate (progress too); null: ours.';
comment on column runs.metadata is 'Names and values that its client gave it, to find it by.';

create table attempts (
  id uuid primary key,
  run_id uuid not null references runs on delete cascade,
  organisation_id uuid not null,
  number smallint not null,
  machine_id uuid not null references machines on delete cascade,
  token_hash bytea not null,
  state attempt_state not null default 'placed',
  outcome text,
  failure jsonb,
  timings jsonb,
  claim_until timestamptz not null,
  deadline timestamptz,
  created_at timestamptz not null default now(),
  claimed_at timestamptz,
  ended_at timestamptz,
  placement jsonb,
  unique (run_id, number)
) with (fillfactor = 70);
create index attempts_open on attempts (machine_id) where state <> 'ended';
comment on table attempts is 'One try at a run on one machine. Written before the machine is told.';
comment on column attempts.id is 'UUIDv7.';
comment on column attempts.run_id is 'The run (runs.id).';
comment on column attempts.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column attempts.number is '1, 2, 3 ... within the run.';
comment on column attempts.machine_id is 'The machine it was given to (machines.id).';
comment on column attempts.token_hash is 'sha256 of the lease token: who reports on the attempt must show the token.';
comment on column attempts.state is 'placed: given out; claimed: the machine began; ended.';
comment on column attempts.outcome is 'How it ended: success, failed, timeout, cancelled, lost or rejected; null: it has not.';
comment on column attempts.failure is 'Why it ended badly (drivers.wire.Failure); null: it did not.';
comment on column attempts.timings is 'Milliseconds by part, and peak memory (drivers.wire.Timings); null: not reported.';
comment on column attempts.claim_until is 'Placed but not claimed by then: lost.';
comment on column attempts.deadline is 'Claimed but not ended by then: timeout.';
comment on column attempts.created_at is 'When it was placed.';
comment on column attempts.claimed_at is 'When the machine claimed it.';
comment on column attempts.ended_at is 'When it ended.';
comment on column attempts.placement is 'Why this machine was chosen (orchestrator.runs.schedule.Why); null: not noted.';

create table run_events (
  run_id uuid not null references runs on delete cascade,
  revision integer not null,
  organisation_id uuid not null,
  status run_status not null,
  attempt smallint not null default 0,
  machine_id uuid,
  reason text,
  at timestamptz not null default now(),
  primary key (run_id, revision)
);
comment on table run_events is 'Append-only history of every accepted change: timelines, live streams that resume, and the history checker.';
comment on column run_events.run_id is 'The run (runs.id).';
comment on column run_events.revision is 'The run''s revision after the change; the event id of its live stream.';
comment on column run_events.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column run_events.status is 'The run''s status after the change.';
comment on column run_events.attempt is 'Number of the attempt; 0: none yet.';
comment on column run_events.machine_id is 'Machine of that attempt (machines.id, not enforced); null: none.';
comment on column run_events.reason is 'Why, where the status alone does not say.';
comment on column run_events.at is 'When the change was accepted.';

create table files (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  purpose file_purpose not null,
  state file_state not null default 'pending',
  name text not null,
  content_type text not null,
  size bigint not null check (size >= 0),
  sha256 bytea not null check (length(sha256) = 32),
  attempt_id uuid,
  created_at timestamptz not null default now(),
  stored_at timestamptz,
  provisional_since timestamptz
);
create index files_provisional on files (provisional_since) where provisional_since is not null;
create index files_content on files (organisation_id, sha256) where state = 'stored';
create index files_pending on files (created_at) where state = 'pending';
create index files_organisation on files (organisation_id, id desc) where state = 'stored';
comment on table files is 'A stored file: an input that was uploaded, or an output. The bytes are in object storage, by their hash.';
comment on column files.id is 'UUIDv7.';
comment on column files.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column files.purpose is 'input: uploaded by a user; output: by a machine.';
comment on column files.state is 'pending: the right to upload was given; stored: the bytes are there and their hash was checked.';
comment on column files.name is 'File name as it was given, without folders.';
comment on column files.content_type is 'MIME type.';
comment on column files.size is 'Bytes.';
comment on column files.sha256 is 'Hash of the content, 32 bytes; equal contents of a team are stored once.';
comment on column files.attempt_id is 'The attempt that may upload it (attempts.id, not enforced); null for an input.';
comment on column files.created_at is 'When the right to upload was given.';
comment on column files.stored_at is 'When the content was complete.';
comment on column files.provisional_since is 'Set: uploaded by an attempt that went on; kept only as an output of its success, then null.';

create table outputs (
  id uuid primary key,
  run_id uuid not null references runs on delete cascade,
  organisation_id uuid not null,
  attempt_id uuid not null,
  node_id text not null,
  kind text not null,
  ordinal integer not null,
  file_id uuid references files,
  data jsonb,
  created_at timestamptz not null default now()
);
create unique index outputs_run on outputs (run_id, ordinal);
create index outputs_file on outputs (file_id) where file_id is not null;
comment on table outputs is 'What a run made; only of the attempt that succeeded or still holds the run.';
comment on column outputs.id is 'UUIDv7.';
comment on column outputs.run_id is 'The run (runs.id).';
comment on column outputs.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column outputs.attempt_id is 'The attempt that made it (attempts.id, not enforced).';
comment on column outputs.node_id is 'The node that made it, by its id in the graph.';
comment on column outputs.kind is 'ComfyUI''s key for it: images, gifs, audio, text ...';
comment on column outputs.ordinal is '0, 1, 2 ... in the order reported within the run.';
comment on column outputs.file_id is 'The file (files.id); null for a value.';
comment on column outputs.data is 'The value, when it is not a file (text); else null.';
comment on column outputs.created_at is 'When it was reported.';

create table graph_shapes (
  organisation_id uuid not null references organisations on delete cascade,
  hash bytea not null,
  version_id uuid not null references workflow_versions on delete cascade,
  created_at timestamptz not null default now(),
  primary key (organisation_id, hash)
);
comment on table graph_shapes is 'Which version stands for graphs of one shape: the same nodes, links and models, whatever their other values.';
comment on column graph_shapes.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column graph_shapes.hash is 'sha256 of the shape (orchestrator/runs/shapes.py).';
comment on column graph_shapes.version_id is 'The version (workflow_versions.id), of the team''s hidden workflow.';
comment on column graph_shapes.created_at is 'When the first such graph was sent.';

create table sent_graphs (
  run_id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  number bigint generated always as identity,
  dialect text not null,
  sender text not null,
  client_id text not null default '',
  labels jsonb not null default '{}',
  extra jsonb not null default '{}',
  created_at timestamptz not null default now(),
  forgotten_at timestamptz,
  sealed bytea
);
create index sent_graphs_labels on sent_graphs using gin (labels jsonb_path_ops);
create index sent_graphs_sealed on sent_graphs (run_id) where sealed is not null;
create index sent_graphs_sender on sent_graphs (organisation_id, sender, run_id desc) where dialect = 'comfyui';
comment on table sent_graphs is 'What a client said of a graph that it sent whole, besides the graph. Written before the run, so that none lacks it.';
comment on column sent_graphs.run_id is 'The run (runs.id, not enforced: a run that was refused leaves its row).';
comment on column sent_graphs.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column sent_graphs.number is 'Counts up: the number of a prompt in a ComfyUI queue.';
comment on column sent_graphs.dialect is 'Through which door it came: comfy_v2 or comfyui.';
comment on column sent_graphs.sender is 'Who sent it, as in audit_log; a ComfyUI client sees only its sender''s.';
comment on column sent_graphs.client_id is 'The ComfyUI client that is told of it; empty: none.';
comment on column sent_graphs.labels is 'Names and values that the sender finds it by.';
comment on column sent_graphs.extra is 'What goes along and comes back with it, without secrets: the editor''s graph.';
comment on column sent_graphs.created_at is 'When it was sent.';
comment on column sent_graphs.forgotten_at is 'Set: its sender took it out of its history; the run stays.';
comment on column sent_graphs.sealed is 'Keys of other services that its nodes need, encrypted; null: none, or the run has ended.';

create table assets (
  file_id uuid primary key references files on delete cascade,
  organisation_id uuid not null references organisations on delete cascade,
  file_path text not null default '',
  tags text[] not null default '{}',
  created_at timestamptz not null default now(),
  expires_at timestamptz
);
create index assets_organisation on assets (organisation_id, file_path);
create index assets_expiring on assets (expires_at) where expires_at is not null;
comment on table assets is 'What a client of the Comfy API said of a file that it uploaded.';
comment on column assets.file_id is 'The file (files.id), whose id is the asset''s.';
comment on column assets.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column assets.file_path is 'The path it was given; a label, never a place.';
comment on column assets.tags is 'Words it was given.';
comment on column assets.created_at is 'When the row was made.';
comment on column assets.expires_at is 'It is forgotten from then on, unless a run needs or made it; null: kept.';

create table content_hashes (
  organisation_id uuid not null references organisations on delete cascade,
  sha256 bytea not null,
  blake3 bytea not null,
  primary key (organisation_id, sha256)
);
create index content_hashes_blake3 on content_hashes (organisation_id, blake3);
comment on table content_hashes is 'The blake3 hash of stored contents, where somebody computed it.';
comment on column content_hashes.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column content_hashes.sha256 is 'The content (files.sha256).';
comment on column content_hashes.blake3 is 'Its other hash, 32 bytes.';

create table object_infos (
  organisation_id uuid not null references organisations on delete cascade,
  hash bytea not null,
  body bytea not null,
  created_at timestamptz not null default now(),
  primary key (organisation_id, hash)
);
comment on table object_infos is 'What executors answer to /object_info; machines that answer the same share a row.';
comment on column object_infos.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column object_infos.hash is 'sha256 of the JSON; a machine names it in inventory.object_info.';
comment on column object_infos.body is 'The JSON, zlib-compressed.';
comment on column object_infos.created_at is 'When the first such machine sent it.';

create table comfyui_links (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  code_hash bytea not null unique,
  code_expires_at timestamptz not null,
  token_hash bytea unique,
  expires_at timestamptz not null,
  role member_role not null,
  sender text not null,
  created_by uuid references users on delete cascade,
  created_at timestamptz not null default now(),
  used_at timestamptz,
  scopes text[] not null
);
create index comfyui_links_organisation on comfyui_links (organisation_id, id desc);
comment on table comfyui_links is 'A link that opens the ComfyUI facade in one browser, once; the browser then has a cookie.';
comment on column comfyui_links.id is 'UUIDv7.';
comment on column comfyui_links.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column comfyui_links.code_hash is 'sha256 of the code in the link.';
comment on column comfyui_links.code_expires_at is 'The link is refused from then on.';
comment on column comfyui_links.token_hash is 'sha256 of the cookie that the link was traded for; null: not yet.';
comment on column comfyui_links.expires_at is 'The cookie is refused from then on.';
comment on column comfyui_links.role is 'What the browser may do, at most its maker''s role.';
comment on column comfyui_links.sender is 'Whom it acts for, as in audit_log.';
comment on column comfyui_links.created_by is 'Who made the link (users.id); null for an API key without a maker.';
comment on column comfyui_links.created_at is 'When the row was made.';
comment on column comfyui_links.used_at is 'When it was traded; refused from then on.';
comment on column comfyui_links.scopes is 'What the browser may do of what its role allows, as resource:action.';

create table comfyui_files (
  organisation_id uuid not null references organisations on delete cascade,
  sender text not null,
  path text not null,
  file_id uuid not null references files on delete cascade,
  created_at timestamptz not null default now(),
  primary key (organisation_id, sender, path)
);
create index comfyui_files_file on comfyui_files (file_id);
comment on table comfyui_files is 'Names under which a ComfyUI client uploaded inputs.';
comment on column comfyui_files.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column comfyui_files.sender is 'Whose name it is, as in audit_log.';
comment on column comfyui_files.path is 'subfolder/name; a label, never a place.';
comment on column comfyui_files.file_id is 'The file (files.id).';
comment on column comfyui_files.created_at is 'When it was uploaded.';

create table comfyui_userdata (
  organisation_id uuid not null references organisations on delete cascade,
  sender text not null,
  path text not null,
  body bytea not null,
  created_at timestamptz not null default now(),
  modified_at timestamptz not null default now(),
  primary key (organisation_id, sender, path)
);
comment on table comfyui_userdata is 'What ComfyUI''s front end keeps for its user: settings, workflows.';
comment on column comfyui_userdata.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column comfyui_userdata.sender is 'Whose it is, as in audit_log.';
comment on column comfyui_userdata.path is 'The file''s path within the user''s own; a label, never a place.';
comment on column comfyui_userdata.body is 'The bytes.';
comment on column comfyui_userdata.created_at is 'When it was first written.';
comment on column comfyui_userdata.modified_at is 'When it was last written.';

create table webhook_endpoints (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  url text not null,
  events text[] not null default '{run.updated}',
  secret_generation integer not null default 1,
  created_at timestamptz not null default now(),
  disabled_at timestamptz,
  disabled_reason text,
  revision integer not null default 1
);
create index webhook_endpoints_organisation on webhook_endpoints (organisation_id, id desc);
comment on table webhook_endpoints is 'An address of a team that is told of its runs.';
comment on column webhook_endpoints.id is 'UUIDv7.';
comment on column webhook_endpoints.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column webhook_endpoints.url is 'Where to POST.';
comment on column webhook_endpoints.events is 'Event types it wants.';
comment on column webhook_endpoints.secret_generation is 'The signing secret is derived from the master key, the id and this number; raise it to rotate.';
comment on column webhook_endpoints.created_at is 'When the row was made.';
comment on column webhook_endpoints.disabled_at is 'Set: told nothing.';
comment on column webhook_endpoints.disabled_reason is 'Why: by hand, or after failing for days.';
comment on column webhook_endpoints.revision is 'Grows by one with every change that somebody makes (trigger): in its ETag.';

create table webhook_outbox (
  id uuid primary key,
  organisation_id uuid not null,
  run_id uuid not null references runs on delete cascade,
  revision integer not null,
  status run_status not null,
  event_type text not null,
  endpoint_id uuid references webhook_endpoints on delete cascade,
  state outbox_state not null default 'pending',
  tries integer not null default 0,
  next_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  delivered_at timestamptz
);
create index webhook_outbox_due on webhook_outbox (next_at) where state = 'pending';
create index webhook_outbox_organisation on webhook_outbox (organisation_id, id desc);
create index webhook_outbox_run on webhook_outbox (run_id);
comment on table webhook_outbox is 'A message to be sent. Written in the transaction that changes the run; its body is rendered when it is sent.';
comment on column webhook_outbox.id is 'UUIDv7; also the webhook-id header, by which a receiver knows a repetition.';
comment on column webhook_outbox.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column webhook_outbox.run_id is 'The run (runs.id).';
comment on column webhook_outbox.revision is 'The run''s revision that it tells of.';
comment on column webhook_outbox.status is 'The status that it tells of.';
comment on column webhook_outbox.event_type is 'run.updated, ...';
comment on column webhook_outbox.endpoint_id is 'Where it goes (webhook_endpoints.id); null: the run''s own webhook_url.';
comment on column webhook_outbox.state is 'pending: to be sent; delivered; dead: given up.';
comment on column webhook_outbox.tries is 'How often it was sent.';
comment on column webhook_outbox.next_at is 'Not sent earlier.';
comment on column webhook_outbox.created_at is 'When the row was made.';
comment on column webhook_outbox.delivered_at is 'When the receiver accepted it.';

create table webhook_deliveries (
  id uuid primary key,
  outbox_id uuid not null references webhook_outbox on delete cascade,
  organisation_id uuid not null,
  url text not null,
  response_code integer,
  error text,
  duration_ms integer not null,
  at timestamptz not null default now()
);
create index webhook_deliveries_outbox on webhook_deliveries (outbox_id);
create index webhook_deliveries_organisation on webhook_deliveries (organisation_id, id desc);
comment on table webhook_deliveries is 'One attempt to send a message, for the team to look at.';
comment on column webhook_deliveries.id is 'UUIDv7.';
comment on column webhook_deliveries.outbox_id is 'The message (webhook_outbox.id).';
comment on column webhook_deliveries.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column webhook_deliveries.url is 'Where it was sent.';
comment on column webhook_deliveries.response_code is 'HTTP status of the answer; null: none came.';
comment on column webhook_deliveries.error is 'Why no answer came; null: one did.';
comment on column webhook_deliveries.duration_ms is 'Milliseconds until the answer or the error.';
comment on column webhook_deliveries.at is 'When it was sent.';

create table audit_log (
  id uuid primary key,
  organisation_id uuid not null,
  actor text not null,
  action text not null,
  subject text not null,
  detail jsonb not null default '{}',
  at timestamptz not null default now()
);
create index audit_log_organisation on audit_log (organisation_id, id desc);
comment on table audit_log is 'Who did what; append-only.';
comment on column audit_log.id is 'UUIDv7.';
comment on column audit_log.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column audit_log.actor is 'user:<id>, key:<id>, machine:<id> or system.';
comment on column audit_log.action is 'machine.register, ...';
comment on column audit_log.subject is 'What it was done to: machine:<id>.';
comment on column audit_log.detail is 'What changed.';
comment on column audit_log.at is 'When it was done.';

create table run_counts (
  organisation_id uuid not null,
  status run_status not null,
  n bigint not null,
  primary key (organisation_id, status)
);
comment on table run_counts is 'How many runs a team has of each status: kept, never counted. Add the rows of run_count_deltas.';
comment on column run_counts.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column run_counts.status is 'The status.';
comment on column run_counts.n is 'Runs of that status, without the changes not yet rolled up.';

create table run_count_deltas (
  id bigint generated always as identity primary key,
  organisation_id uuid not null,
  status run_status not null,
  delta integer not null
);
comment on table run_count_deltas is 'Changes to run_counts, appended beside the run''s update and rolled up by the sweeper.';
comment on column run_count_deltas.id is 'Order of arrival.';
comment on column run_count_deltas.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column run_count_deltas.status is 'The status that gained or lost runs.';
comment on column run_count_deltas.delta is 'How many: negative for those that left it.';

create table batches (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  total integer not null check (total > 0),
  created_by uuid,
  created_at timestamptz not null default now()
);
create index batches_organisation on batches (organisation_id, id desc);
comment on table batches is 'Runs that were started together by one request.';
comment on column batches.id is 'UUIDv7.';
comment on column batches.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column batches.total is 'How many runs were started with it.';
comment on column batches.created_by is 'Who started it (users.id, not enforced); null for an API key without a maker.';
comment on column batches.created_at is 'When it was accepted.';

create table run_files (
  run_id uuid not null references runs on delete cascade,
  file_id uuid not null,
  primary key (run_id, file_id)
);
create index run_files_file on run_files (file_id);
comment on table run_files is 'Which stored files a run''s inputs name, so that none is deleted under a run that needs it.';
comment on column run_files.run_id is 'The run (runs.id).';
comment on column run_files.file_id is 'The file (files.id, not enforced: it may be deleted once the run has ended).';

create table run_marks (
  run_id uuid primary key references runs on delete cascade,
  organisation_id uuid not null,
  favourite boolean not null default false,
  note text not null default '',
  tags text[] not null default '{}',
  updated_at timestamptz not null default now(),
  revision integer not null default 1
);
create index run_marks_organisation on run_marks (organisation_id, run_id desc);
comment on table run_marks is 'What people note about a run. Apart from runs, whose rows change only with their life.';
comment on column run_marks.run_id is 'The run (runs.id).';
comment on column run_marks.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column run_marks.favourite is 'Kept by the retention, whatever its age.';
comment on column run_marks.note is 'Free text.';
comment on column run_marks.tags is 'Words to find it by.';
comment on column run_marks.updated_at is 'When a mark last changed.';
comment on column run_marks.revision is 'Grows by one with every change that somebody makes (trigger): in its ETag.';

create table run_logs (
  id uuid primary key,
  run_id uuid not null references runs on delete cascade,
  organisation_id uuid not null,
  attempt_id uuid not null,
  lines jsonb not null,
  bytes integer not null,
  at timestamptz not null default now()
);
create index run_logs_run on run_logs (run_id, id);
comment on table run_logs is 'What executors wrote while they worked on a run: some lines a row, so much an attempt and no more.';
comment on column run_logs.id is 'UUIDv7.';
comment on column run_logs.run_id is 'The run (runs.id).';
comment on column run_logs.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column run_logs.attempt_id is 'The attempt (attempts.id, not enforced).';
comment on column run_logs.lines is 'The lines, as texts, in order.';
comment on column run_logs.bytes is 'Their length together.';
comment on column run_logs.at is 'When they arrived.';

create table attempt_facts (
  attempt_id uuid primary key references attempts on delete cascade,
  run_id uuid not null references runs on delete cascade,
  organisation_id uuid not null,
  facts jsonb not null default '{}',
  told smallint not null default 0,
  heard_at timestamptz not null default now(),
  look_at timestamptz
) with (fillfactor = 70);
create index attempt_facts_look on attempt_facts (look_at) where look_at is not null;
comment on table attempt_facts is 'What a machine without an agent of ours has said of an attempt, in whatever order it came.';
comment on column attempt_facts.attempt_id is 'The attempt (attempts.id).';
comment on column attempt_facts.run_id is 'Its run (runs.id).';
comment on column attempt_facts.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column attempt_facts.facts is 'All that is known of it (orchestrator.runs.callbacks.Facts); emptied once it has ended.';
comment on column attempt_facts.told is 'The last report made of it (runs.sequence); 4: it has ended.';
comment on column attempt_facts.heard_at is 'When something new was last said.';
comment on column attempt_facts.look_at is 'To be looked at again then, although nothing more was said; null: no need.';

create table plugin_logins (
  request_hash bytea primary key,
  organisation_id uuid not null references organisations on delete cascade,
  user_id uuid not null references users on delete cascade,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  taken_at timestamptz
);
create index plugin_logins_expired on plugin_logins (expires_at);
comment on table plugin_logins is 'A user let the ComfyUI plugin that made a request have a key; it fetches the key once.';
comment on column plugin_logins.request_hash is 'sha256 of the id that the plugin made.';
comment on column plugin_logins.organisation_id is 'The team that the key will act for (organisations.id).';
comment on column plugin_logins.user_id is 'Who granted it (users.id).';
comment on column plugin_logins.created_at is 'When it was granted.';
comment on column plugin_logins.expires_at is 'Not to be fetched from then on.';
comment on column plugin_logins.taken_at is 'When the key was fetched; refused from then on.';

create table machine_events (
  id uuid primary key,
  machine_id uuid not null references machines on delete cascade,
  organisation_id uuid not null,
  kind text not null,
  detail jsonb not null default '{}',
  at timestamptz not null default now()
);
create index machine_events_machine on machine_events (machine_id, id desc);
comment on table machine_events is 'What happened to a machine; of each the newest thousand or so.';
comment on column machine_events.id is 'UUIDv7.';
comment on column machine_events.machine_id is 'The machine (machines.id).';
comment on column machine_events.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column machine_events.kind is 'connected, disconnected, drained, quarantined, ... (orchestrator.wire.MachineEventKind).';
comment on column machine_events.detail is 'What is to be told of it.';
comment on column machine_events.at is 'When it happened.';

create table usage_days (
  organisation_id uuid not null references organisations on delete cascade,
  day date not null,
  deployment_id uuid not null,
  api_key_id uuid not null,
  runs bigint not null default 0,
  succeeded bigint not null default 0,
  attempts bigint not null default 0,
  machine_ms bigint not null default 0,
  primary key (organisation_id, day, deployment_id, api_key_id)
);
comment on table usage_days is 'What a team used in a day (UTC): kept, never counted. Add the rows of usage_deltas.';
comment on column usage_days.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column usage_days.day is 'The day on which the runs ended, in UTC.';
comment on column usage_days.deployment_id is 'The deployment they were started through (deployments.id, not enforced); all zeros: none.';
comment on column usage_days.api_key_id is 'The key they were started with (api_keys.id, not enforced); all zeros: none.';
comment on column usage_days.runs is 'Runs that ended.';
comment on column usage_days.succeeded is 'Those of them that succeeded.';
comment on column usage_days.attempts is 'Attempts that machines had claimed and that ended.';
comment on column usage_days.machine_ms is 'Milliseconds from the claim to the end of these attempts: how long machines were taken up.';

create table usage_deltas (
  id bigint generated always as identity primary key,
  organisation_id uuid not null,
  day date not null,
  deployment_id uuid not null,
  api_key_id uuid not null,
  runs integer not null,
  succeeded integer not null,
  attempts integer not null,
  machine_ms bigint not null
);
create index usage_deltas_organisation on usage_deltas (organisation_id);
comment on table usage_deltas is 'Additions to usage_days, appended beside the runs'' updates and rolled up by the sweeper.';
comment on column usage_deltas.id is 'Order of arrival.';
comment on column usage_deltas.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column usage_deltas.day is 'As in usage_days.';
comment on column usage_deltas.deployment_id is 'As in usage_days.';
comment on column usage_deltas.api_key_id is 'As in usage_days.';
comment on column usage_deltas.runs is 'As in usage_days.';
comment on column usage_deltas.succeeded is 'As in usage_days.';
comment on column usage_deltas.attempts is 'As in usage_days.';
comment on column usage_deltas.machine_ms is 'As in usage_days.';

create table usage_metadata_days (
  organisation_id uuid not null references organisations on delete cascade,
  day date not null,
  name text not null,
  value text not null,
  runs bigint not null default 0,
  succeeded bigint not null default 0,
  attempts bigint not null default 0,
  machine_ms bigint not null default 0,
  primary key (organisation_id, name, day, value)
);
comment on table usage_metadata_days is 'usage_days by what runs have in their metadata, for the names that the installation counts. Add usage_metadata_deltas.';
comment on column usage_metadata_days.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column usage_metadata_days.day is 'The day on which the runs ended, in UTC.';
comment on column usage_metadata_days.name is 'A name of the metadata.';
comment on column usage_metadata_days.value is 'What the runs have under it.';
comment on column usage_metadata_days.runs is 'Runs that ended.';
comment on column usage_metadata_days.succeeded is 'Of those, the ones that succeeded.';
comment on column usage_metadata_days.attempts is 'Attempts of these runs that a machine claimed.';
comment on column usage_metadata_days.machine_ms is 'How long machines were taken up by them, in milliseconds.';

create table usage_metadata_deltas (
  id bigint generated always as identity primary key,
  organisation_id uuid not null,
  day date not null,
  metadata jsonb not null,
  succeeded integer not null,
  attempts integer not null,
  machine_ms bigint not null
);
create index usage_metadata_deltas_organisation on usage_metadata_deltas (organisation_id);
comment on table usage_metadata_deltas is 'Runs with metadata that ended, appended by a trigger on runs and rolled up by the sweeper.';
comment on column usage_metadata_deltas.id is 'Order of arrival.';
comment on column usage_metadata_deltas.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column usage_metadata_deltas.day is 'As in usage_metadata_days.';
comment on column usage_metadata_deltas.metadata is 'The run''s.';
comment on column usage_metadata_deltas.succeeded is '1 for a run that succeeded, else 0.';
comment on column usage_metadata_deltas.attempts is 'As in usage_metadata_days.';
comment on column usage_metadata_deltas.machine_ms is 'As in usage_metadata_days.';

create function note_metadata_used() returns trigger language plpgsql as $$
begin
  insert into usage_metadata_deltas (organisation_id, day, metadata, succeeded, attempts, machine_ms)
  select new.organisation_id, (now() at time zone 'utc')::date, new.metadata, (new.status = 'success')::int, count(*),
         coalesce(sum((extract(epoch from ended_at - claimed_at) * 1000)::bigint), 0)
  from attempts where run_id = new.id and claimed_at is not null and ended_at is not null;
  return null;
end $$;
create trigger runs_metadata_used after update of status on runs for each row
  when (new.metadata <> '{}' and new.status in ('success', 'failed', 'timeout', 'cancelled')
        and old.status not in ('success', 'failed', 'timeout', 'cancelled'))
  execute function note_metadata_used();

create table storage_days (
  organisation_id uuid not null references organisations on delete cascade,
  day date not null,
  bytes bigint not null,
  files bigint not null,
  primary key (organisation_id, day)
);
comment on table storage_days is 'What a team had stored at the end of a day (UTC); days without a change have no row. Add storage_deltas.';
comment on column storage_days.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column storage_days.day is 'The day, in UTC.';
comment on column storage_days.bytes is 'The sizes of its stored files together; equal contents count as often as they are named.';
comment on column storage_days.files is 'How many files.';

create table storage_deltas (
  id bigint generated always as identity primary key,
  organisation_id uuid not null,
  bytes bigint not null,
  files integer not null
);
create index storage_deltas_organisation on storage_deltas (organisation_id);
comment on table storage_deltas is 'Changes to storage_days, appended by a trigger on files and rolled up by the sweeper.';
comment on column storage_deltas.id is 'Order of arrival.';
comment on column storage_deltas.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column storage_deltas.bytes is 'How many came; negative for those that went.';
comment on column storage_deltas.files is 'How many files came or went.';

create table quotas (
  organisation_id uuid primary key references organisations on delete cascade,
  max_queued_runs integer check (max_queued_runs >= 0),
  max_running_runs integer check (max_running_runs >= 0),
  max_storage_bytes bigint check (max_storage_bytes >= 0),
  updated_at timestamptz not null default now()
);
comment on table quotas is 'How much a team may have; a team without a row may have everything.';
comment on column quotas.organisation_id is 'The team (organisations.id).';
comment on column quotas.max_queued_runs is 'Runs that may wait at once; null: any number.';
comment on column quotas.max_running_runs is 'Runs that may be on machines at once; null: any number.';
comment on column quotas.max_storage_bytes is 'What its stored files may take up; null: anything.';
comment on column quotas.updated_at is 'When a quota last changed.';

create table doomed_contents (
  organisation_id uuid not null,
  sha256 bytea not null,
  doomed_at timestamptz not null default now(),
  removing_at timestamptz,
  primary key (organisation_id, sha256)
);
create index doomed_contents_due on doomed_contents (doomed_at);
comment on table doomed_contents is 'Contents that lost a file: their bytes are removed after a while, unless a file has them then.';
comment on column doomed_contents.organisation_id is 'The team that had it (organisations.id, not enforced: it may be gone).';
comment on column doomed_contents.sha256 is 'The content, 32 bytes.';
comment on column doomed_contents.doomed_at is 'When it lost a file.';
comment on column doomed_contents.removing_at is 'Set: its bytes are being removed at this moment, and no file may be made of it.';

create function note_stored_file() returns trigger language plpgsql as $$
declare
  being_removed boolean;
begin
  if tg_op <> 'INSERT' and old.state = 'stored' then
    insert into storage_deltas (organisation_id, bytes, files) values (old.organisation_id, -old.size, -1);
    insert into doomed_contents (organisation_id, sha256) values (old.organisation_id, old.sha256)
      on conflict do nothing;
  end if;
  if tg_op <> 'DELETE' and new.state = 'stored' then
    delete from doomed_contents where organisation_id = new.organisation_id and sha256 = new.sha256
      returning removing_at is not null into being_removed;
    if being_removed then
      raise exception 'this content is being removed at this moment: send it again' using errcode = 'lock_not_available';
    end if;
    insert into storage_deltas (organisation_id, bytes, files) values (new.organisation_id, new.size, 1);
  end if;
  return null;
end $$;
create trigger files_stored after insert or delete or update of state, size, sha256 on files
  for each row execute function note_stored_file();

create function note_machine_event(machine machines, kind text, detail jsonb) returns void language sql as $$
  insert into machine_events (id, machine_id, organisation_id, kind, detail)
  values (uuid7(), machine.id, machine.organisation_id, kind, detail);
  delete from machine_events where machine_id = machine.id and id < (
    select id from machine_events where machine_id = machine.id order by id desc offset 1000 limit 1);
$$;

create table machine_versions (
  id uuid primary key,
  machine_id uuid not null references machines on delete cascade,
  organisation_id uuid not null,
  number integer not null,
  hash bytea not null,
  kind machine_kind not null,
  endpoint text,
  labels jsonb not null,
  policy jsonb not null,
  agent_version text not null,
  inventory jsonb not null,
  created_at timestamptz not null default now(),
  unique (machine_id, number)
);
comment on table machine_versions is 'What a machine was at a time: never changed; of each machine the newest hundred.';
comment on column machine_versions.id is 'UUIDv7.';
comment on column machine_versions.machine_id is 'The machine (machines.id).';
comment on column machine_versions.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column machine_versions.number is 'Counts from 1 within the machine.';
comment on column machine_versions.hash is 'sha256 of all that follows: the next version has another.';
comment on column machine_versions.kind is 'As in machines.';
comment on column machine_versions.endpoint is 'As in machines.';
comment on column machine_versions.labels is 'As in machines.';
comment on column machine_versions.policy is 'As in machines.';
comment on column machine_versions.agent_version is 'As in machines.';
comment on column machine_versions.inventory is 'As in machines, when it was whole: its executor had answered and its models were hashed.';
comment on column machine_versions.created_at is 'When it became so.';

create function note_machine_version(machine machines) returns void language plpgsql as $$
declare
  whole boolean := coalesce(jsonb_array_length(machine.inventory -> 'node_classes'), 0) > 0 and not jsonb_path_exists(
    machine.inventory, '$.models[*] ? (@.size > 0 && !exists(@.sha256))');
  digest bytea := sha256(convert_to(jsonb_build_array(machine.kind, machine.endpoint, machine.labels, machine.policy,
    machine.agent_version, machine.inventory)::text, 'UTF8'));
  latest machine_versions;
begin
  select * into latest from machine_versions where machine_id = machine.id order by number desc limit 1;
  if not whole or latest.hash = digest then
    return;
  end if;
  insert into machine_versions
    (id, machine_id, organisation_id, number, hash, kind, endpoint, labels, policy, agent_version, inventory)
  values (uuid7(), machine.id, machine.organisation_id, coalesce(latest.number, 0) + 1, digest, machine.kind,
    machine.endpoint, machine.labels, machine.policy, machine.agent_version, machine.inventory);
  delete from machine_versions where machine_id = machine.id and number <= coalesce(latest.number, 0) - 99;
end $$;

create function note_machine() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    perform note_machine_event(new, 'registered', '{}');
    return null;
  end if;
  if new.state <> old.state then
    perform note_machine_event(new, case new.state
      when 'draining' then 'drained' when 'quarantined' then 'quarantined' when 'deleted' then 'deleted'
      else case old.state when 'quarantined' then 'released' when 'draining' then 'undrained' else 'enrolled' end end,
      jsonb_strip_nulls(jsonb_build_object('reason', new.quarantine_reason)));
  elsif new.credential_hash is distinct from old.credential_hash then
    perform note_machine_event(new, 'enrolled', '{}');
  end if;
  if (new.name, new.labels, new.policy) is distinct from (old.name, old.labels, old.policy) then
    perform note_machine_event(new, 'changed', jsonb_build_object(
      'name', new.name, 'labels', new.labels, 'policy', new.policy));
  end if;
  if new.secrets_revision <> old.secrets_revision then
    perform note_machine_event(new, 'secrets_changed', '{}');
  end if;
  if new.slots <> old.slots or new.inventory is distinct from old.inventory then
    perform note_machine_event(new, 'inventory_changed', jsonb_build_object('slots', new.slots,
      'node_classes', jsonb_array_length(coalesce(new.inventory -> 'node_classes', '[]')),
      'models', jsonb_array_length(coalesce(new.inventory -> 'models', '[]'))));
  end if;
  if (new.endpoint, new.labels, new.policy, new.agent_version, new.inventory)
     is distinct from (old.endpoint, old.labels, old.policy, old.agent_version, old.inventory) then
    perform note_machine_version(new);
  end if;
  return null;
end $$;
create trigger machines_noted after insert or update on machines for each row execute function note_machine();

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

create function note_machine_connection() returns trigger language plpgsql as $$
begin
  perform note_machine_event(m, case when new.connected then 'connected' else 'disconnected' end, '{}')
    from machines m where m.id = new.machine_id;
  return null;
end $$;
create trigger machine_beats_first after insert on machine_beats
  for each row when (new.connected) execute function note_machine_connection();
create trigger machine_beats_noted after update on machine_beats
  for each row when (new.connected is distinct from old.connected) execute function note_machine_connection();

create table machine_logs (
  id uuid primary key,
  machine_id uuid not null references machines on delete cascade,
  organisation_id uuid not null,
  lines jsonb not null,
  at timestamptz not null default now()
);
create index machine_logs_machine on machine_logs (machine_id, id desc);
comment on table machine_logs is 'What agents said of themselves: some lines a row, of each machine the newest few hundred rows.';
comment on column machine_logs.id is 'UUIDv7.';
comment on column machine_logs.machine_id is 'The machine (machines.id).';
comment on column machine_logs.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column machine_logs.lines is 'The lines, as texts, in order.';
comment on column machine_logs.at is 'When they arrived.';

create table watch_clock (
  one boolean primary key default true check (one),
  ticked_at timestamptz not null
);
comment on table watch_clock is 'One row: when a leader last watched. Leases do not run out while no orchestrator is alive to renew them.';
comment on column watch_clock.one is 'Always true: keeps the table to one row.';
comment on column watch_clock.ticked_at is 'The last watch.';

create table schema_migrations (
  version integer primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now()
);
comment on table schema_migrations is 'Which files of deploy/migrations were applied to this database.';
comment on column schema_migrations.version is 'The file''s number.';
comment on column schema_migrations.name is 'The file''s name without .sql.';
comment on column schema_migrations.checksum is 'sha256 of its text, hexadecimal.';
comment on column schema_migrations.applied_at is 'When it was applied.';

create function refuse_version_update() returns trigger language plpgsql as $$
begin
  if to_jsonb(new) - 'deleted_at' is distinct from to_jsonb(old) - 'deleted_at' then
    raise exception 'workflow versions are immutable: upload a new version' using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger workflow_versions_immutable before update on workflow_versions
  for each row when (old.* is distinct from new.*) execute function refuse_version_update();
