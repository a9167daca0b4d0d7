-- ComfyUI with the comfyui-deploy plugin: machines that are pushed to, what they say of attempts, logins of the plugin.
alter table machines
  add column endpoint_private boolean not null default false;
comment on column machines.endpoint_private is 'The endpoint may lie at a private or loopback address: an administrator said so.';
alter table runs
  add column webhook_shape text;
comment on column runs.webhook_shape is 'In whose words webhook_url is told: comfydeploy, comfydeploy-intermediate (progress too); null: ours.';

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
