-- What deployments used. One row: the points of one deployment over one span, packed by the engine.
-- tier: 0 as they were sampled, 1 a point a minute, 2 a point every ten minutes.

create table metric_samples (
    deployment_id text collate "C" not null references deployments (id) on delete cascade,
    tier bigint not null,
    start_at bigint not null,
    points bytea not null,
    primary key (deployment_id, tier, start_at)
);
create index metric_samples_by_age on metric_samples (tier, start_at);
