-- What operators say of hosts while they run. cordoned is null: as the config says. drain is null, 'wait' or 'stop'.
-- private_fleet repeats what the config says, for queries.
create table host_settings (
    host text collate "C" not null primary key,
    cordoned bigint,
    drain text,
    private_fleet text,
    deletion_id text,
    deletion_at bigint,
    created_at bigint not null,
    updated_at bigint not null
);
