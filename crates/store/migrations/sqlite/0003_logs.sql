-- The end of each attempt's log, kept when its container is removed. `exit` is null if its process was ended by force;
-- crashed: it ended by itself. `bytes` are those of the log as it is shown, `stored_bytes` those of `pieces`.
create table deployment_logs (
    deployment_id text not null references deployments (id) on delete cascade,
    attempt integer not null,
    at integer not null,
    exit text,
    crashed integer not null,
    bytes integer not null,
    truncated integer not null,
    stored_bytes integer not null,
    pieces blob not null,
    primary key (deployment_id, attempt)
) strict;
create index deployment_logs_by_age on deployment_logs (at, stored_bytes);
