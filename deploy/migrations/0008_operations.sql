-- Operations: secrets that machines give to their executors; what clients find runs by; what machines were.

alter table machines add column secrets_revision integer not null default 0;
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

alter table secrets add column machines jsonb;
comment on column secrets.machines is 'Labels of the machines that give it to their executors; null: it is given to none.';

create or replace function note_machine() returns trigger language plpgsql as $$
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

alter table runs add column metadata jsonb not null default '{}';
comment on column runs.metadata is 'Names and values that its client gave it, to find it by.';
create index runs_metadata on runs using gin (metadata jsonb_path_ops) where metadata <> '{}';

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
