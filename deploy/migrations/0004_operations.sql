-- Runs in batches, marked, logged and retried; who used what; machines that are quarantined; files that are deleted.
alter table runs
  add column batch_id uuid,
  add column retry_of uuid,
  add column api_key_id uuid;
comment on column runs.batch_id is 'The batch it was started with (batches.id, not enforced); null: alone.';
comment on column runs.retry_of is 'The run that it repeats (runs.id, not enforced); null: none.';
comment on column runs.api_key_id is 'The key it was started with (api_keys.id, not enforced); null: a login or a link.';
alter table attempts
  add column placement jsonb;
comment on column attempts.placement is 'Why this machine was chosen (orchestrator.runs.schedule.Why); null: not noted.';
create index runs_batch on runs (batch_id, id desc) where batch_id is not null;

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
  updated_at timestamptz not null default now()
);
create index run_marks_organisation on run_marks (organisation_id, run_id desc);
comment on table run_marks is 'What people note about a run. Apart from runs, whose rows change only with their life.';
comment on column run_marks.run_id is 'The run (runs.id).';
comment on column run_marks.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column run_marks.favourite is 'Kept by the retention, whatever its age.';
comment on column run_marks.note is 'Free text.';
comment on column run_marks.tags is 'Words to find it by.';
comment on column run_marks.updated_at is 'When a mark last changed.';

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

alter type machine_state add value 'quarantined' before 'deleted';
alter table machines
  add column policy jsonb not null default '{}',
  add column quarantined_at timestamptz,
  add column quarantine_reason text;
comment on column machines.policy is 'What it may be given (orchestrator.wire.MachinePolicy).';
comment on column machines.quarantined_at is 'When it was quarantined; null: it is not.';
comment on column machines.quarantine_reason is 'Why it is quarantined, for people; null: it is not.';
create index outputs_file on outputs (file_id) where file_id is not null;

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

insert into storage_deltas (organisation_id, bytes, files)
  select organisation_id, sum(size), count(*) from files where state = 'stored' group by organisation_id;


create function note_machine_event(machine machines, kind text, detail jsonb) returns void language sql as $$
  insert into machine_events (id, machine_id, organisation_id, kind, detail)
  values (uuid7(), machine.id, machine.organisation_id, kind, detail);
  delete from machine_events where machine_id = machine.id and id < (
    select id from machine_events where machine_id = machine.id order by id desc offset 1000 limit 1);
$$;

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
  if new.slots <> old.slots or new.inventory is distinct from old.inventory then
    perform note_machine_event(new, 'inventory_changed', jsonb_build_object('slots', new.slots,
      'node_classes', jsonb_array_length(coalesce(new.inventory -> 'node_classes', '[]')),
      'models', jsonb_array_length(coalesce(new.inventory -> 'models', '[]'))));
  end if;
  return null;
end $$;
create trigger machines_noted after insert or update on machines for each row execute function note_machine();

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

create index files_organisation on files (organisation_id, id desc) where state = 'stored';


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
