-- Gateways: what node classes take is read from what executors answer to /object_info and no longer told apart from it;
-- keys of other services go along with a graph, encrypted; assets expire.

drop table node_specs;

alter table sent_graphs add column sealed bytea;
comment on column sent_graphs.sealed is 'Keys of other services that its nodes need, encrypted; null: none, or the run has ended.';
create index sent_graphs_sealed on sent_graphs (run_id) where sealed is not null;

create index assets_expiring on assets (expires_at) where expires_at is not null;
comment on column assets.expires_at is 'It is forgotten from then on, unless a run needs or made it; null: kept.';

alter table files add column provisional_since timestamptz;
comment on column files.provisional_since is 'Set: uploaded by an attempt that went on; kept only as an output of its success, then null.';
create index files_provisional on files (provisional_since) where provisional_since is not null;
