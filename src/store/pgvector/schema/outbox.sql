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
-- Who said so, and at which epoch of theirs: one who is behind is not heeded.
alter table qdc.state add column if not exists mirrored_by text not null default '';
alter table qdc.state add column if not exists mirrored_epoch bigint not null default 0;

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

-- How strong a reason is, by its first words.
create or replace function qd.strength(_reason text) returns int
language sql immutable as $$
  select case when starts_with(_reason, 'asked for') then 4
    when starts_with(_reason, 'never compared since the authority') then 3
    when starts_with(_reason, 'never compared') then 2
    when starts_with(_reason, 'perhaps deleted') then 1
    else 0 end
$$;

-- The reason of what was due for one and is asked for anew for another (`model::reason_of_both`).
create or replace function qd.reason_of_both(_before text, _now text) returns text
language sql immutable as $$
  select case when qd.strength(_now) >= qd.strength(_before)
      or starts_with(_before, 'asked for') and starts_with(_now, 'never compared') then _now
    else regexp_replace(split_part(_before, '; ', 1), r.rest || '+$', '') || '; '
      || regexp_replace(_now, r.rest || '+$', '')
      || case when _before ~ (r.rest || '$') and _now ~ (r.rest || '$')
        then ' (but for collections with a mode of their own)' else '' end
    end
  from (select '( \(but for collections with a mode of their own\))' as rest) r
$$;

create or replace function qd.want_sweep(_cid int, _reason text) returns void
language sql volatile as $$
  insert into qdc.sweeps as s (cid, reason, token) values (_cid, _reason, qd.token())
  on conflict (cid) do update set reason = qd.reason_of_both(s.reason, excluded.reason),
    token = excluded.token
$$;

-- The triggers. Whoever writes may have no right on anything of ours, so they run as their owner,
-- and find nothing by a search path that others set.

-- Marks the points in `changed`. Every write pays for this one. It names all by their schemas and uses
-- no operator, so that no search path has to be set, which would cost as much again.
create or replace function qd.mark_points() returns trigger
language plpgsql security definer as $$
begin
  insert into qdc.outbox (cid, id) select tg_argv[0]::pg_catalog.int4, c.id from changed c;
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

-- The same for a table of somebody else's, whose ids are in the column `tg_argv[1]` and become keys
-- as `tg_argv[2]` says. It must not be in the way of whoever writes: what cannot be marked, because
-- the table has become another, has the collection compared whole. Rows that are not shown are marked
-- too: to ask which are would be one more thing to go wrong.
create or replace function qd.mark_adopted() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  _cid int := tg_argv[0]::int;
  _key text := 't.' || tg_argv[1];
  _rows text;
begin
  if to_regclass('qdc.outbox') is null or not coalesce(
      (select qd.is_mirrored(c.name) from qdc.collections c where c.cid = _cid), false) then
    return null;
  end if;
  if tg_op = 'TRUNCATE' then
    perform qd.mark(m.what, c.name) from qdc.collections c,
      (values ('d'::"char"), ('s'::"char")) m(what) where c.cid = _cid;
    return null;
  end if;
  begin
    _rows := 'select ' || case tg_argv[2]
        when 'uuid' then '''\x01''::bytea || uuid_send(' || _key || ')'
        when 'integer' then '''\x00''::bytea || int8send(' || _key || '::int8)'
        else 'qd.text_id(' || _key || '::text)' end
      || ' as id from %s t where ' || _key || ' is not null'
      || case tg_argv[2] when 'integer' then ' and ' || _key || ' >= 0' else '' end;
    execute 'insert into qdc.outbox (cid, id) select $1, r.id from ('
      || replace(_rows, '%s', 'changed')
      || case tg_op when 'UPDATE' then ' union ' || replace(_rows, '%s', 'was') else '' end
      || ') r' using _cid;
  exception when others then
    perform qd.want_sweep(_cid, 'writes to its table cannot be marked');
  end;
  return null;
end $$;

-- Only we make triggers of these.
revoke execute on function qd.mark_points(), qd.mark_old_id(), qd.mark_point_of(),
  qd.mark_emptied(), qd.sweep_emptied(), qd.mark_adopted() from public;

-- The triggers of one table, each as what stands between `create trigger NAME` and the function,
-- and the function: of the table of the points, of one of vectors, of an adopted one (which may be
-- that of several collections), and what tells of writes to such a one.
--
-- Our own writes touch the row of every point that they change, and say by `qd.own` who they are:
-- for them nothing is done about the tables of vectors. That is asked row by row, and not once a
-- statement, because a statement that could be asked for its rows would have to keep copies of them.
create or replace function qd.marking(_cid int, _kind text)
returns table (name text, event text, calls text)
language sql stable as $$
  select t.name, t.event, t.calls from qdc.collections c,
    lateral (select format('qd.mark_adopted(%L, %L, %L)', _cid, c.mapping::json ->> 'key',
      c.mapping::json ->> 'kind') as calls) a,
    lateral (values
    ('points', 'outrigger_mark_insert', 'after insert on %s referencing new table as changed '
      'for each statement', format('qd.mark_points(%L)', _cid)),
    ('points', 'outrigger_mark_update', 'after update on %s referencing new table as changed '
      'for each statement', format('qd.mark_points(%L)', _cid)),
    ('points', 'outrigger_mark_delete', 'after delete on %s referencing old table as changed '
      'for each statement', format('qd.mark_points(%L)', _cid)),
    ('points', 'outrigger_mark_id', 'after update of id on %s for each row '
      'when (old.id is distinct from new.id)', format('qd.mark_old_id(%L)', _cid)),
    ('points', 'outrigger_mark_truncate', 'after truncate on %s for each statement',
      format('qd.mark_emptied(%L)', _cid)),
    ('vectors', 'outrigger_mark_row', 'after insert or update or delete on %s for each row '
      'when (coalesce(pg_catalog.current_setting(''qd.own'', true), '''') = '''')',
      format('qd.mark_point_of(%L, ''qd_data.c%1$s'')', _cid)),
    ('vectors', 'outrigger_mark_truncate', 'after truncate on %s for each statement',
      format('qd.sweep_emptied(%L)', _cid)),
    ('adopted', 'outrigger_mark_insert_' || _cid, 'after insert on %s '
      'referencing new table as changed for each statement', a.calls),
    ('adopted', 'outrigger_mark_update_' || _cid, 'after update on %s '
      'referencing old table as was new table as changed for each statement', a.calls),
    ('adopted', 'outrigger_mark_delete_' || _cid, 'after delete on %s '
      'referencing old table as changed for each statement', a.calls),
    ('adopted', 'outrigger_mark_truncate_' || _cid, 'after truncate on %s for each statement',
      a.calls),
    ('told', 'outrigger_written_' || _cid, 'after insert or update or delete or truncate on %s '
      'for each statement', format('qd.written(%L)', _cid))
  ) t(kind, name, event, calls)
  where c.cid = _cid and t.kind = _kind
$$;

-- The tables of a collection that have triggers of these kinds, or are to have them.
create or replace function qd.marked_tables(_cid int)
returns table (place pg_catalog.regclass, kind text, wanted boolean)
language sql stable as $$
  select r.oid::pg_catalog.regclass, case r.relname when 'c' || _cid then 'points' else 'vectors' end,
    qd.is_mirrored(c.name)
  from qdc.collections c, pg_catalog.pg_class r
  where c.cid = _cid and r.relnamespace = 'qd_data'::pg_catalog.regnamespace and r.relkind = 'r'
    and r.relname = any (array['c' || _cid] || array(
      select pg_catalog.format('c%s_%s%s', _cid, case v.kind when 'dense' then 'v' when 'multi' then 'm'
        else 's' end, v.vno) from qdc.vectors v where v.cid = _cid))
  union all
  -- The table may be another than before, or not be there any more.
  select o.place::pg_catalog.regclass, k.kind, coalesce(o.place = a.place, false) and a.trigger
    and (k.kind = 'told' or qd.is_mirrored(c.name))
  from qdc.collections c,
    lateral (select pg_catalog.to_regclass(c.mapping::json ->> 'table')::oid as place,
      coalesce((c.mapping::json ->> 'trigger')::boolean, false) as trigger) a,
    (values ('told'), ('adopted')) k(kind),
    lateral (select a.place union select t.tgrelid from pg_catalog.pg_trigger t
      where t.tgname in (select m.name from qd.marking(_cid, k.kind) m)) o(place)
  where c.cid = _cid and c.mapping is not null and o.place is not null
$$;

-- Brings the triggers of a collection in line with what is to be told and marked, of `_max` tables
-- at most; how many tables there are to be changed, those included that were.
create or replace function qd.mirror(_cid int, _max int) returns int
language plpgsql as $$
declare
  _due int := 0;
  _of record;
  _one record;
begin
  for _of in
    select m.place, m.kind, m.wanted, pg_catalog.count(*) as needed,
      pg_catalog.count(t.tgname) as found
    from qd.marked_tables(_cid) m
      cross join lateral qd.marking(_cid, m.kind) n
      left join pg_catalog.pg_trigger t on t.tgrelid = m.place and t.tgname = n.name
    group by m.place, m.kind, m.wanted
    order by m.kind, m.place
  loop
    continue when _of.found = case when _of.wanted then _of.needed else 0 end;
    _due := _due + 1;
    continue when _due > _max;
    for _one in select * from qd.marking(_cid, _of.kind) loop
      if _of.wanted then
        execute format('create or replace trigger %I ' || _one.event
          || ' execute function ' || _one.calls, _one.name, _of.place);
      else
        begin
          execute format('drop trigger if exists %I on %s', _one.name, _of.place);
        exception when insufficient_privilege then
          -- They do nothing any more but to be there.
          raise warning 'Outrigger may not drop its trigger % on %; have the owner do it',
            _one.name, _of.place;
        end;
      end if;
    end loop;
  end loop;
  return _due;
end $$;
