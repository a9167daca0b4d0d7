-- The whole database of ComfyFleet: the truth. deploy/migrations/ is proven equal to this file by a test.
-- Works on PostgreSQL 15 to 18, needs no extension. Every id is a UUIDv7 made by the application.
-- Every row that belongs to a team carries organisation_id, and every query filters by it.

create type member_role as enum ('owner', 'admin', 'developer', 'viewer', 'playground');
create type machine_kind as enum ('classic', 'runpod-serverless', 'modal-serverless', 'comfy-deploy-serverless');
create type machine_state as enum ('pending', 'ready', 'draining', 'deleted');
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
  created_at timestamptz not null default now()
);

create table users (
  id uuid primary key,
  email text not null unique check (email = lower(email)),
  name text not null default '',
  password_hash text not null,              -- argon2id
  created_at timestamptz not null default now(),
  disabled_at timestamptz
);

create table memberships (
  organisation_id uuid not null references organisations on delete cascade,
  user_id uuid not null references users on delete cascade,
  role member_role not null,
  created_at timestamptz not null default now(),
  primary key (organisation_id, user_id)
);
create index memberships_user on memberships (user_id);

-- A login. Its refresh tokens rotate; one used twice revokes the session.
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

create table refresh_tokens (
  token_hash bytea primary key,             -- sha256
  session_id uuid not null references sessions on delete cascade,
  created_at timestamptz not null default now(),
  used_at timestamptz
);
create index refresh_tokens_session on refresh_tokens (session_id);

create table api_keys (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  created_by uuid references users on delete set null,
  name text not null,
  key_hash bytea not null unique,           -- sha256 of the whole key; the key itself is shown once
  hint text not null,                       -- prefix and last four characters
  role member_role not null default 'developer',
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz
);
create index api_keys_organisation on api_keys (organisation_id, id desc);

create table machines (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  name text not null,
  kind machine_kind not null,
  state machine_state not null default 'pending',
  endpoint text,                            -- a plain ComfyUI's URL (push path); null when an agent dials in
  labels jsonb not null default '{}',       -- {"pool": "fast", ...}
  slots integer not null default 0 check (slots between 0 and 1024),
  inventory jsonb not null default '{}',    -- drivers.wire.Inventory
  agent_version text not null default '',
  credential_hash bytea unique,             -- sha256 of the agent's credential
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  enrolled_at timestamptz,
  deleted_at timestamptz
);
create unique index machines_name on machines (organisation_id, name) where deleted_at is null;
create index machines_organisation on machines (organisation_id, id desc) where deleted_at is null;

-- Hot and small: one row a machine, rewritten by every heartbeat batch.
create table machine_beats (
  machine_id uuid primary key references machines on delete cascade,
  seen_at timestamptz not null,
  lease_until timestamptz not null,
  used_slots integer not null default 0,
  connected boolean not null default true
) with (fillfactor = 50);

create table machine_speeds (
  machine_id uuid not null references machines on delete cascade,
  version_id uuid not null,
  execute_ms real not null,                 -- moving average of the execute time
  samples integer not null,
  updated_at timestamptz not null default now(),
  primary key (machine_id, version_id)
);

create table enrol_tokens (
  token_hash bytea primary key,             -- sha256; one use
  organisation_id uuid not null references organisations on delete cascade,
  machine_id uuid not null references machines on delete cascade,
  created_by uuid references users on delete set null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  used_at timestamptz
);
create index enrol_tokens_machine on enrol_tokens (machine_id);

create table workflows (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  name text not null,
  latest_version integer not null default 0,  -- counter that hands out version numbers
  created_by uuid references users on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz
);
create index workflows_organisation on workflows (organisation_id, id desc) where deleted_at is null;

-- Immutable: a trigger refuses every update.
create table workflow_versions (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  workflow_id uuid not null references workflows on delete cascade,
  version integer not null check (version > 0),
  api_graph jsonb not null,
  ui_graph jsonb,
  snapshot jsonb,                           -- environment: ComfyUI commit, packs, hashes
  requirements jsonb not null,              -- orchestrator.runs.requirements.Requirements
  comment text not null default '',
  created_by uuid references users on delete set null,
  created_at timestamptz not null default now(),
  unique (workflow_id, version)
);
create index workflow_versions_organisation on workflow_versions (organisation_id, id desc);

create table deployments (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  workflow_id uuid not null references workflows on delete cascade,
  version_id uuid not null references workflow_versions,
  environment deployment_environment not null,
  machine_id uuid references machines on delete set null,  -- pinned to one machine
  pool jsonb not null default '{}',         -- labels a machine must carry
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz
);
create unique index deployments_environment on deployments (workflow_id, environment) where deleted_at is null;
create index deployments_organisation on deployments (organisation_id, id desc) where deleted_at is null;

create table runs (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  workflow_id uuid not null,
  version_id uuid not null references workflow_versions on delete cascade,
  deployment_id uuid references deployments on delete set null,
  origin run_origin not null default 'api',
  status run_status not null default 'not-started',
  revision integer not null default 1,      -- grows by one with every accepted change; the guard of every update
  priority smallint not null default 0,     -- larger first
  lane bigint not null,                     -- hash of (organisation, version, pool, machine): runs with one lane fit the same machines
  pool jsonb not null default '{}',
  pinned_machine_id uuid,
  inputs jsonb not null default '{}',
  max_attempts smallint not null default 3,
  timeout_s integer not null default 3600,  -- from started to the end of an attempt
  attempts smallint not null default 0,     -- how many attempts were made
  attempt_id uuid,                          -- the attempt that holds the run now
  machine_id uuid,                          -- of the present or last attempt
  sequence integer not null default 0,      -- last event number taken from the present attempt
  not_before timestamptz not null default now(),  -- back-off before the next attempt
  failure jsonb,                            -- drivers.wire.Failure of the last attempt
  webhook_url text,
  created_by uuid,
  created_at timestamptz not null default now(),
  queued_at timestamptz,
  started_at timestamptz,
  running_at timestamptz,
  uploading_at timestamptz,
  ended_at timestamptz
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
create index runs_waiting on runs (priority desc, id) where status = 'not-started';
create index runs_organisation on runs (organisation_id, id desc);
create index runs_deployment on runs (deployment_id, id desc) where deployment_id is not null;

create table attempts (
  id uuid primary key,
  run_id uuid not null references runs on delete cascade,
  organisation_id uuid not null,
  number smallint not null,
  machine_id uuid not null references machines on delete cascade,
  token_hash bytea not null,                -- sha256 of the lease token
  state attempt_state not null default 'placed',
  outcome text,                             -- success, failed, timeout, cancelled, lost, rejected
  failure jsonb,
  timings jsonb,                            -- drivers.wire.Timings
  claim_until timestamptz not null,         -- placed but not claimed by then: lost
  deadline timestamptz,                     -- claimed but not ended by then: timeout
  created_at timestamptz not null default now(),
  claimed_at timestamptz,
  ended_at timestamptz,
  unique (run_id, number)
) with (fillfactor = 70);
create index attempts_open on attempts (machine_id) where state <> 'ended';

-- Append-only history of every accepted change: timeline, live streams with Last-Event-ID, and the history checker.
create table run_events (
  run_id uuid not null references runs on delete cascade,
  revision integer not null,
  organisation_id uuid not null,
  status run_status not null,
  attempt smallint not null default 0,
  machine_id uuid,
  reason text,                              -- why, when the status alone does not say
  at timestamptz not null default now(),
  primary key (run_id, revision)
);

create table files (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  purpose file_purpose not null,
  state file_state not null default 'pending',
  name text not null,
  content_type text not null,
  size bigint not null check (size >= 0),
  sha256 bytea not null check (length(sha256) = 32),
  attempt_id uuid,                          -- the attempt the grant was given to
  created_at timestamptz not null default now(),
  stored_at timestamptz
);
create index files_content on files (organisation_id, sha256) where state = 'stored';
create index files_pending on files (created_at) where state = 'pending';

create table outputs (
  id uuid primary key,
  run_id uuid not null references runs on delete cascade,
  organisation_id uuid not null,
  attempt_id uuid not null,
  node_id text not null,
  kind text not null,                       -- ComfyUI's key: images, gifs, audio, text ...
  ordinal integer not null,
  file_id uuid references files,
  data jsonb,                               -- a value that is not a file (text)
  created_at timestamptz not null default now()
);
create unique index outputs_run on outputs (run_id, ordinal);

create table webhook_endpoints (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  url text not null,
  events text[] not null default '{run.updated}',
  secret_generation integer not null default 1,  -- the secret is derived from the master key, the id and this
  created_at timestamptz not null default now(),
  disabled_at timestamptz,
  disabled_reason text
);
create index webhook_endpoints_organisation on webhook_endpoints (organisation_id, id desc);

-- Written in the transaction that changes the run; the body is rendered from the run when it is sent.
create table webhook_outbox (
  id uuid primary key,                      -- also the webhook-id header
  organisation_id uuid not null,
  run_id uuid not null references runs on delete cascade,
  revision integer not null,
  status run_status not null,
  event_type text not null,
  endpoint_id uuid references webhook_endpoints on delete cascade,  -- null: the run's own url
  state outbox_state not null default 'pending',
  tries integer not null default 0,
  next_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  delivered_at timestamptz
);
create index webhook_outbox_due on webhook_outbox (next_at) where state = 'pending';
create index webhook_outbox_organisation on webhook_outbox (organisation_id, id desc);
create index webhook_outbox_run on webhook_outbox (run_id);

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

create table audit_log (
  id uuid primary key,
  organisation_id uuid not null,
  actor text not null,                      -- "user:<id>", "key:<id>", "machine:<id>", "system"
  action text not null,                     -- "machine.register", ...
  subject text not null,                    -- "machine:<id>"
  detail jsonb not null default '{}',
  at timestamptz not null default now()
);
create index audit_log_organisation on audit_log (organisation_id, id desc);

-- Counters kept, never counted: changes are appended beside the run's update and rolled up by the sweeper.
create table run_counts (
  organisation_id uuid not null,
  status run_status not null,
  n bigint not null,
  primary key (organisation_id, status)
);
create table run_count_deltas (
  id bigint generated always as identity primary key,
  organisation_id uuid not null,
  status run_status not null,
  delta integer not null
);

-- One row: when a leader last watched. Leases do not run out while no orchestrator is alive to renew them.
create table watch_clock (
  one boolean primary key default true check (one),
  ticked_at timestamptz not null
);

create table schema_migrations (
  version integer primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now()
);

create function refuse_version_update() returns trigger language plpgsql as $$
begin
  raise exception 'workflow versions are immutable: upload a new version' using errcode = 'restrict_violation';
end $$;
create trigger workflow_versions_immutable before update on workflow_versions
  for each row when (old.* is distinct from new.*) execute function refuse_version_update();
