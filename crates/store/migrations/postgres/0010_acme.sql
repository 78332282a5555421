-- Certificates got by ACME, for all control planes: who orders has the lease; everybody shows what is here. Keys and
-- credentials are sealed.

create table acme_accounts (
    directory text not null primary key,
    credentials text not null,
    created_at bigint not null
);

create table acme_certificates (
    directory text not null,
    names text not null,
    generation bigint not null,
    chain text,
    chain_key text,
    not_before bigint,
    not_after bigint,
    order_url text,
    order_key text,
    texts text not null,
    lease_until bigint,
    next_at bigint not null,
    attempts bigint not null,
    last_error text,
    updated_at bigint not null,
    primary key (directory, names)
);
