"""The ledger's two statements. APPLY is the only UPDATE of runs in the code base.

It takes the columns of six tables of facts (runs, history, placed, claimed and ended attempts, outputs). Only the runs
whose revision is still the expected one are changed; everything else joins what was changed, in one transaction.
"""

from __future__ import annotations

from typing import Final, LiteralString

LOAD: Final[LiteralString] = """
    select r.id, r.organisation_id, r.version_id, r.status, r.revision, r.attempts, r.max_attempts, r.attempt_id,
           r.machine_id, r.sequence, r.failure, r.faults, a.token_hash
    from runs r left join attempts a on a.id = r.attempt_id
    where r.id = any($1::uuid[])
"""

APPLY: Final[LiteralString] = r"""
with wanted as (
  select * from unnest($1::uuid[], $2::int[], $3::int[], $4::run_status[], $5::smallint[], $6::uuid[], $7::uuid[],
                       $8::int[], $9::jsonb[], $10::float8[], $11::smallint[])
    as w(run_id, expected, revision, status, attempts, attempt_id, machine_id, sequence, failure, delay_s, faults)
), before as materialized (
  -- locked in the order of their ids, so that two batches never wait for each other crosswise
  select r.id, r.status from runs r join wanted w on r.id = w.run_id and r.revision = w.expected
  order by r.id for update of r
), applied as (
  update runs r set
    status = w.status, revision = w.revision, attempts = w.attempts, attempt_id = w.attempt_id,
    machine_id = w.machine_id, sequence = w.sequence, failure = w.failure, faults = w.faults,
    not_before = case when w.status = 'not-started' then now() + make_interval(secs => w.delay_s) else r.not_before end,
    queued_at = case when w.status = 'queued' then now() else r.queued_at end,
    started_at = case when w.status = 'queued' then null
                      when w.status = 'not-started' then r.started_at
                      when w.status in ('failed', 'timeout', 'cancelled') and b.status in ('not-started', 'queued')
                           and w.run_id <> all($25::uuid[]) then r.started_at  -- ended without having been claimed
                      else coalesce(r.started_at, now()) end,
    running_at = case when w.status = 'queued' then null
                      when w.status in ('running', 'uploading', 'success') then coalesce(r.running_at, now())
                      else r.running_at end,
    uploading_at = case when w.status = 'queued' then null
                        when w.status in ('uploading', 'success') then coalesce(r.uploading_at, now())
                        else r.uploading_at end,
    ended_at = case when w.status in ('success', 'failed', 'timeout', 'cancelled') then now() end
  from wanted w join before b on b.id = w.run_id
  where r.id = w.run_id and r.revision = w.expected
  returning r.id, r.organisation_id, r.webhook_url, r.webhook_shape, r.timeout_s, r.status, r.revision, r.deployment_id,
            r.api_key_id
), history as (
  select h.*, a.organisation_id, a.webhook_url
  from unnest($12::uuid[], $13::int[], $14::run_status[], $15::smallint[], $16::uuid[], $17::text[])
    as h(run_id, revision, status, attempt, machine_id, reason)
  join applied a on a.id = h.run_id
), into_history as (
  insert into run_events (run_id, revision, organisation_id, status, attempt, machine_id, reason)
  select run_id, revision, organisation_id, status, attempt, machine_id, reason from history
), into_attempts as (
  insert into attempts (id, run_id, organisation_id, number, machine_id, token_hash, claim_until, placement)
  select p.id, p.run_id, a.organisation_id, p.number, p.machine_id, p.token_hash,
         now() + make_interval(secs => p.claim_s), p.placement
  from unnest($18::uuid[], $19::uuid[], $20::smallint[], $21::uuid[], $22::bytea[], $23::float8[], $39::jsonb[])
    as p(id, run_id, number, machine_id, token_hash, claim_s, placement)
  join applied a on a.id = p.run_id
), touched as (
  select coalesce(c.id, e.id) as id, c.id is not null as claimed, e.id is not null as ended, a.timeout_s,
         a.organisation_id, a.deployment_id, a.api_key_id, e.outcome, e.failure, e.timings
  from unnest($24::uuid[], $25::uuid[]) as c(id, run_id)
  full join unnest($26::uuid[], $27::uuid[], $28::text[], $29::jsonb[], $30::jsonb[])
    as e(id, run_id, outcome, failure, timings) on e.id = c.id
  join applied a on a.id = coalesce(c.run_id, e.run_id)
), of_attempts as (
  update attempts t set
    state = case when u.ended then 'ended'::attempt_state else 'claimed'::attempt_state end,
    claimed_at = case when u.claimed then now() else t.claimed_at end,
    deadline = case when u.claimed then now() + make_interval(secs => u.timeout_s) else t.deadline end,
    outcome = u.outcome, failure = u.failure, timings = u.timings,
    ended_at = case when u.ended then now() end
  from touched u where t.id = u.id
  returning u.organisation_id, u.deployment_id, u.api_key_id, t.claimed_at, t.ended_at
), into_usage as (  -- no join: what is used is added up from what the updates give back
  insert into usage_deltas
    (organisation_id, day, deployment_id, api_key_id, runs, succeeded, attempts, machine_ms)
  select u.organisation_id, (now() at time zone 'utc')::date,
         coalesce(u.deployment_id, '00000000-0000-0000-0000-000000000000'),
         coalesce(u.api_key_id, '00000000-0000-0000-0000-000000000000'),
         sum(u.runs), sum(u.succeeded), sum(u.attempts), sum(u.machine_ms)
  from (
    select organisation_id, deployment_id, api_key_id, 1 as runs, (status = 'success')::int as succeeded, 0 as attempts,
           0::bigint as machine_ms
    from applied where status in ('success', 'failed', 'timeout', 'cancelled')
    union all
    select organisation_id, deployment_id, api_key_id, 0, 0, 1,
           (extract(epoch from ended_at - claimed_at) * 1000)::bigint
    from of_attempts where ended_at is not null and claimed_at is not null
  ) u
  group by 1, 2, 3, 4
), into_outputs as (
  insert into outputs (id, run_id, organisation_id, attempt_id, node_id, kind, ordinal, file_id, data)
  select o.id, o.run_id, a.organisation_id, o.attempt_id, o.node_id, o.kind, o.ordinal, o.file_id, o.data::jsonb
  from unnest($31::uuid[], $32::uuid[], $33::uuid[], $34::text[], $35::text[], $36::int[], $37::uuid[], $38::text[])
    as o(id, run_id, attempt_id, node_id, kind, ordinal, file_id, data)
  join applied a on a.id = o.run_id
), into_outbox as (
  insert into webhook_outbox (id, organisation_id, run_id, revision, status, event_type, endpoint_id)
  select uuid7(), m.organisation_id, m.run_id, m.revision, m.status, m.event_type, m.endpoint_id
  from (
    select h.organisation_id, h.run_id, h.revision, h.status, e.id as endpoint_id,
           case when h.status in ('success', 'failed', 'timeout', 'cancelled') and 'run.ended' = any(e.events)
                then 'run.ended'
                when 'run.updated' = any(e.events) then 'run.updated' else 'run.' || h.status::text end as event_type
    from history h join webhook_endpoints e on e.organisation_id = h.organisation_id and e.disabled_at is null
    where 'run.updated' = any(e.events) or 'run.' || h.status::text = any(e.events)
       or ('run.ended' = any(e.events) and h.status in ('success', 'failed', 'timeout', 'cancelled'))
    union all  -- each node's output by itself, for those who ask
    select a.organisation_id, a.id, a.revision, a.status, e.id, 'run.output:' || o.node_id
    from (select distinct run_id, node_id from unnest($32::uuid[], $34::text[]) as o(run_id, node_id)) o
    join applied a on a.id = o.run_id
    join webhook_endpoints e on e.organisation_id = a.organisation_id and e.disabled_at is null
                            and 'run.output' = any(e.events)
    union all
    select h.organisation_id, h.run_id, h.revision, h.status, null,
           case when h.status in ('success', 'failed', 'timeout', 'cancelled') then 'run.ended' else 'run.updated' end
    from history h where h.webhook_url is not null
    union all  -- ComfyDeploy's: each node's output by itself, for a URL that asks so
    select a.organisation_id, a.id, a.revision, a.status, null, 'run.output:' || o.node_id
    from (select distinct run_id, node_id from unnest($32::uuid[], $34::text[]) as o(run_id, node_id)) o
    join applied a on a.id = o.run_id
    where a.webhook_shape is not null and a.webhook_url ~ '[?&]target_events=[^&#]*run[.]output'
  ) m
  returning 1
), into_counts as (
  insert into run_count_deltas (organisation_id, status, delta)
  select organisation_id, status, sum(delta)::int from (
    select a.organisation_id, a.status, 1 as delta from applied a
    union all
    select a.organisation_id, b.status, -1 from applied a join before b on b.id = a.id
  ) d group by organisation_id, status having sum(delta) <> 0
)
select id, (select count(*) from into_outbox) > 0 as to_tell from applied
"""
