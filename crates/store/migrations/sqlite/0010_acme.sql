-- Certificates got by ACME, for all control planes: who orders has the lease; everybody shows what is here. Keys and
-- credentials are sealed.

create table acme_accounts (
    directory text not null primary key,
    credentials text not null,
    created_at integer not null
) strict;

create table acme_certificates (
    directory text not null,
    names text not null,
    generation integer not null,
    chain text,
    chain_key text,
    not_before integer,
    not_after integer,
    order_url text,
    order_key text,
    texts text not null,
    lease_until integer,
    next_at integer not null,
    attempts integer not null,
    last_error text,
    updated_at integer not null,
    primary key (directory, names)
) strict;
