-- Operations: secrets that machines give to their executors; what clients find runs by.

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
  return null;
end $$;

alter table runs add column metadata jsonb not null default '{}';
comment on column runs.metadata is 'Names and values that its client gave it, to find it by.';
create index runs_metadata on runs using gin (metadata jsonb_path_ops) where metadata <> '{}';
