-- What operators say of hosts while they run. cordoned is null: as the config says. drain is null, 'wait' or 'stop'.
-- private_fleet repeats what the config says, for queries.
create table host_settings (
    host text not null primary key,
    cordoned integer,
    drain text,
    private_fleet text,
    deletion_id text,
    deletion_at integer,
    created_at integer not null,
    updated_at integer not null
) strict;
