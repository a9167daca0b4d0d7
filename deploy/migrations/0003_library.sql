-- The library: revisions of workflows and deployments, aliases, splits and history of deployments, shares, what node
-- classes take, and the deletion of versions.

alter table workflows add column revision integer not null default 1;
comment on column workflows.revision is 'Grows by one with every change: its ETag.';

alter table workflow_versions add column deleted_at timestamptz;
comment on table workflow_versions is 'A workflow as it was uploaded. Immutable: a trigger refuses every update but its deletion.';
comment on column workflow_versions.deleted_at is 'Set: hidden, and takes no new runs; its runs stay. The only column that ever changes.';

create or replace function refuse_version_update() returns trigger language plpgsql as $$
begin
  if to_jsonb(new) - 'deleted_at' is distinct from to_jsonb(old) - 'deleted_at' then
    raise exception 'workflow versions are immutable: upload a new version' using errcode = 'restrict_violation';
  end if;
  return new;
end $$;

alter table deployments
  add column revision integer not null default 1,
  add column alias text check (alias ~ '^[a-z][a-z0-9-]{0,62}$'),
  add column description text not null default '',
  add column split jsonb not null default '[]';
create unique index deployments_alias on deployments (organisation_id, alias) where deleted_at is null;
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

create table node_specs (
  organisation_id uuid not null references organisations on delete cascade,
  hash bytea not null,
  classes jsonb not null,
  created_at timestamptz not null default now(),
  primary key (organisation_id, hash)
);
comment on table node_specs is 'What node classes take, as a team''s machines declare it; machines that declare the same share a row.';
comment on column node_specs.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column node_specs.hash is 'sha256 of the classes as the agent encoded them; a machine names it in inventory.specs.';
comment on column node_specs.classes is 'class_type -> its widgets in order and the pack it is of (drivers.wire.NodeSpec).';
comment on column node_specs.created_at is 'When the first such machine told it.';

insert into deployment_history (id, organisation_id, deployment_id, revision, action, version_id, machine_id, pool, actor,
                                created_at)
select uuid7(), organisation_id, id, 1, 'deploy', version_id, machine_id, pool, 'system', updated_at from deployments;
