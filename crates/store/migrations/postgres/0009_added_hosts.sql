-- Hosts and private fleets that operators added while a server ran; those of the config are not here.
-- spec and centroid are JSON. A host that was removed keeps its row with removed_at, so that no control plane reserves
-- anything on it any more. fleet names its private fleet, if that one was added too.
create table private_fleets (
    name text collate "C" not null primary key,
    centroid text,
    created_at bigint not null
);
create table added_hosts (
    host text collate "C" not null primary key,
    fleet text collate "C" references private_fleets (name),
    spec text not null,
    created_at bigint not null,
    removed_at bigint
);
