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
