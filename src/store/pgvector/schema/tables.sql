-- The catalogue. Everything here is made in one transaction, under the advisory lock of the
-- catalogue. Texts of ours are kept as text, not as jsonb: what a client wrote is to come back as
-- it was written.

create schema qdc;
create schema qd;
create schema qd_data;

create table qdc.install (format int not null);

-- One row. The version is another after every change of the catalogue, so that a look at it tells
-- whether one's own copy is the present one. It does not count (qd.token).
create table qdc.state (version bigint not null);
insert into qdc.state values (1);

create table qdc.collections (
  cid int generated always as identity primary key,
  name text collate "C" not null unique,
  config text not null,
  -- Another after every change of this collection. Its default is qd.token().
  epoch bigint not null,
  -- The last number that a vector or an index got. None is given twice: a statement that was
  -- prepared for a table must never find another one under its name.
  numbers int not null default 0,
  created timestamptz not null default now()
);

create table qdc.vectors (
  cid int not null references qdc.collections on delete cascade,
  name text collate "C" not null,
  vno int not null,
  kind text not null check (kind in ('dense', 'multi', 'sparse')),
  ann text not null default 'none' check (ann in ('none', 'building', 'ready')),
  primary key (cid, name),
  unique (cid, vno)
);

create table qdc.payload_indexes (
  cid int not null references qdc.collections on delete cascade,
  path text collate "C" not null,
  ino int not null,
  schema text not null,
  state text not null default 'building' check (state in ('building', 'ready')),
  primary key (cid, path)
);

create table qdc.aliases (
  alias text collate "C" primary key,
  cid int not null references qdc.collections on delete cascade
);
