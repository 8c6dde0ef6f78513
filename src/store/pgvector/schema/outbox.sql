-- The outbox: what a follower of this store has still to be told. Everything here may run again.
--
-- A mark is a row, made in the transaction of the write, and nothing but added: writers never wait
-- for one another here, nor for whoever works the marks off. It deletes just the rows that it has
-- seen: transactions do not end in the order of `seq`, so one with a lower number may come later.
-- By collection, so that a long queue of one does not stand before the others.
--
-- What concerns a collection as a whole has no number, for the collection may be gone: its rows
-- have `cid` 0 and a name.

alter table qdc.state add column if not exists mirrored boolean not null default false;

-- The collections for which something else holds than `qdc.state` says, be they there or not.
create table if not exists qdc.mirrored (
  name text collate "C" primary key,
  mirrored boolean not null
);

-- Rows come and go: dead ones are swept early and without pauses, and the file is not cut short,
-- for which writers would be locked out.
create table if not exists qdc.outbox (
  seq bigint not null generated always as identity,
  at timestamptz not null default pg_catalog.clock_timestamp(),
  cid int not null,
  -- 'p' a point, 's' the collection's declaration, 'd' it was dropped.
  what "char" not null default 'p',
  id bytea,
  name text collate "C",
  primary key (cid, seq)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);

-- Points that the follower refuses for good. `seq` is the mark under which it did.
create table if not exists qdc.dead_letters (
  cid int not null references qdc.collections on delete cascade,
  id bytea not null,
  reason text not null,
  seq bigint not null,
  at timestamptz not null default pg_catalog.clock_timestamp(),
  primary key (cid, id)
);

-- Collections that have to be compared whole; 0 are all of them.
create table if not exists qdc.sweeps (
  cid int primary key,
  reason text not null,
  token bigint not null,
  at timestamptz not null default pg_catalog.clock_timestamp()
);

create or replace function qd.is_mirrored(_name text) returns boolean
language sql stable as $$
  select coalesce((select m.mirrored from qdc.mirrored m where m.name = _name),
    (select s.mirrored from qdc.state s))
$$;

-- Marks a collection as a whole.
create or replace function qd.mark(_what "char", _name text) returns void
language sql volatile as $$
  insert into qdc.outbox (cid, what, name) select 0, _what, _name where qd.is_mirrored(_name)
$$;

create or replace function qd.want_sweep(_cid int, _reason text) returns void
language sql volatile as $$
  insert into qdc.sweeps (cid, reason, token) values (_cid, _reason, qd.token())
  on conflict (cid) do update set reason = excluded.reason, token = excluded.token
$$;

-- The triggers. Whoever writes may have no right on anything of ours, so they run as their owner,
-- and find nothing by a search path that others set.

-- Marks the points in `changed`.
create or replace function qd.mark_points() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into qdc.outbox (cid, id) select tg_argv[0]::int, c.id from changed c;
  return null;
end $$;

-- Marks the id that a point had.
create or replace function qd.mark_old_id() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into qdc.outbox (cid, id) values (tg_argv[0]::int, old.id);
  return null;
end $$;

-- Marks the point of a row of another table, whose points are in the table `tg_argv[1]`.
create or replace function qd.mark_point_of() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  _pids bigint[] := '{}';
begin
  if tg_op <> 'INSERT' then _pids := _pids || old.pid; end if;
  if tg_op <> 'DELETE' then _pids := _pids || new.pid; end if;
  execute format('insert into qdc.outbox (cid, id) select $1, c.id from %s c where c.pid = any($2)',
    tg_argv[1]) using tg_argv[0]::int, _pids;
  return null;
end $$;

-- All points are gone: the follower's go with their collection, which is made again.
create or replace function qd.mark_emptied() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform qd.mark(m.what, c.name) from qdc.collections c,
    (values ('d'::"char"), ('s'::"char")) m(what) where c.cid = tg_argv[0]::int;
  return null;
end $$;

-- All points have lost a vector.
create or replace function qd.sweep_emptied() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform qd.want_sweep(tg_argv[0]::int, 'a table of its vectors was truncated');
  return null;
end $$;

-- The triggers of one table, each as what stands between `create trigger NAME` and the function,
-- and the function. `of_points` tells the table of the points from one of vectors.
--
-- Our own writes touch the row of every point that they change, and say by `qd.own` who they are:
-- for them nothing is done about the tables of vectors. That is asked row by row, and not once a
-- statement, because a statement that could be asked for its rows would have to keep copies of them.
create or replace function qd.marking(_cid int, _of_points boolean)
returns table (name text, event text, calls text)
language sql stable as $$
  select t.name, t.event, pg_catalog.format(t.calls, _cid) from (values
    (true, 'outrigger_mark_insert', 'after insert on %s referencing new table as changed '
      'for each statement', 'qd.mark_points(%L)'),
    (true, 'outrigger_mark_update', 'after update on %s referencing new table as changed '
      'for each statement', 'qd.mark_points(%L)'),
    (true, 'outrigger_mark_delete', 'after delete on %s referencing old table as changed '
      'for each statement', 'qd.mark_points(%L)'),
    (true, 'outrigger_mark_id', 'after update of id on %s for each row '
      'when (old.id is distinct from new.id)', 'qd.mark_old_id(%L)'),
    (true, 'outrigger_mark_truncate', 'after truncate on %s for each statement',
      'qd.mark_emptied(%L)'),
    (false, 'outrigger_mark_row', 'after insert or update or delete on %s for each row '
      'when (coalesce(pg_catalog.current_setting(''qd.own'', true), '''') = '''')',
      'qd.mark_point_of(%L, ''qd_data.c%1$s'')'),
    (false, 'outrigger_mark_truncate', 'after truncate on %s for each statement',
      'qd.sweep_emptied(%L)')
  ) t(of_points, name, event, calls) where t.of_points = _of_points
$$;

-- Brings the triggers of a collection in line with whether it is mirrored, of `_max` tables at most;
-- how many tables there are to be changed, those included that were.
create or replace function qd.mirror(_cid int, _max int) returns int
language plpgsql as $$
declare
  _wanted boolean := (select qd.is_mirrored(c.name) from qdc.collections c where c.cid = _cid);
  _due int := 0;
  _of record;
  _one record;
begin
  for _of in
    select r.oid::pg_catalog.regclass as place, r.relname = 'c' || _cid as of_points,
      (select pg_catalog.count(*) from pg_catalog.pg_trigger t
        where t.tgrelid = r.oid and t.tgname like 'outrigger\_mark\_%') as found
    from pg_catalog.pg_class r join pg_catalog.pg_namespace n on n.oid = r.relnamespace
    where n.nspname = 'qd_data' and r.relkind = 'r'
      and r.relname ~ ('^c' || _cid || '(_[vms][0-9]+)?$')
    order by r.relname
  loop
    if _wanted then
      continue when _of.found = (select pg_catalog.count(*) from qd.marking(_cid, _of.of_points));
    else
      continue when _of.found = 0;
    end if;
    _due := _due + 1;
    continue when _due > _max;
    for _one in select * from qd.marking(_cid, _of.of_points) loop
      if _wanted then
        execute pg_catalog.format('create or replace trigger %I ' || _one.event
          || ' execute function ' || _one.calls, _one.name, _of.place);
      else
        execute pg_catalog.format('drop trigger if exists %I on %s', _one.name, _of.place);
      end if;
    end loop;
  end loop;
  return _due;
end $$;
