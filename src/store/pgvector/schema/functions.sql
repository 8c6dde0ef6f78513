-- The functions that queries, writes and payload indexes are made of. Read whenever the schema is
-- installed, so everything here may run again.
--
-- All are immutable and safe in parallel plans, hence without blocks that catch errors: what could
-- fail is looked at before. Those that a query has called for every row are in plain SQL, which
-- the planner takes apart. Strings are as the store keeps them, with NUL replaced.

-- Payloads: what set, delete and their like do. -------------------------------------------------

-- Top-level keys of b over those of a; null removes a key.
create or replace function qd.merge_top(a jsonb, b jsonb) returns jsonb
language sql immutable parallel safe as $$
  select (coalesce(a, '{}') - coalesce(
      (select array_agg(k) from jsonb_each(b) e(k, v) where jsonb_typeof(v) = 'null'), '{}'))
    || coalesce(
      (select jsonb_object_agg(k, v) from jsonb_each(b) e(k, v) where jsonb_typeof(v) <> 'null'), '{}')
$$;

-- merge_top at the end of a path. Its steps: a string is a key, a number an index, null is [].
create or replace function qd.path_merge(a jsonb, steps jsonb, b jsonb) returns jsonb
language plpgsql immutable parallel safe as $$
declare
  step jsonb := steps -> 0;
  rest jsonb;
  k text;
  i numeric;
begin
  if jsonb_array_length(steps) = 0 then
    return qd.merge_top(case when jsonb_typeof(a) = 'object' then a else '{}' end, b);
  end if;
  rest := steps - 0;
  if jsonb_typeof(step) = 'string' then
    k := step #>> '{}';
    if jsonb_typeof(a) is distinct from 'object' then a := '{}'; end if;
    return a || jsonb_build_object(k, qd.path_merge(a -> k, rest, b));
  end if;
  if jsonb_typeof(a) is distinct from 'array' then return '[]'; end if;
  if jsonb_typeof(step) = 'number' then
    i := step::numeric;
    if i >= jsonb_array_length(a) then return a; end if;
    return jsonb_set(a, array[i::text], qd.path_merge(a -> i::int, rest, b));
  end if;
  return coalesce(
    (select jsonb_agg(qd.path_merge(x, rest, b) order by o)
     from jsonb_array_elements(a) with ordinality e(x, o)), '[]');
end $$;

-- Removes what a path leads to. A path that ends in [n] removes nothing, one in [] all elements.
create or replace function qd.path_del(a jsonb, steps jsonb) returns jsonb
language plpgsql immutable parallel safe as $$
declare
  step jsonb := steps -> 0;
  rest jsonb := steps - 0;
  k text;
  i numeric;
begin
  if a is null then return null; end if;
  if jsonb_typeof(step) = 'string' then
    k := step #>> '{}';
    if jsonb_typeof(a) <> 'object' or not a ? k then return a; end if;
    if jsonb_array_length(rest) = 0 then return a - k; end if;
    return a || jsonb_build_object(k, qd.path_del(a -> k, rest));
  elsif jsonb_typeof(a) <> 'array' then
    return a;
  elsif jsonb_typeof(step) = 'number' then
    i := step::numeric;
    if jsonb_array_length(rest) = 0 or i >= jsonb_array_length(a) then return a; end if;
    return jsonb_set(a, array[i::text], qd.path_del(a -> i::int, rest));
  end if;
  if jsonb_array_length(rest) = 0 then return '[]'; end if;
  return coalesce(
    (select jsonb_agg(qd.path_del(x, rest) order by o)
     from jsonb_array_elements(a) with ordinality e(x, o)), '[]');
end $$;

-- The same for one path after the other.
create or replace function qd.paths_del(a jsonb, paths jsonb) returns jsonb
language plpgsql immutable parallel safe as $$
declare
  steps jsonb;
begin
  for steps in select p from jsonb_array_elements(paths) with ordinality e(p, o) order by o loop
    a := qd.path_del(a, steps);
  end loop;
  return a;
end $$;

-- Single values. ---------------------------------------------------------------------------------

-- The values under a path, those of an array one by one. A condition holds if it does for one.
create or replace function qd.flat(p jsonb, path jsonpath) returns setof jsonb
language sql immutable parallel safe as $$
  select e from jsonb_path_query(p, path, '{}', true) v
  cross join lateral jsonb_path_query(v, '$[*]') e
$$;

create or replace function qd.str(e jsonb) returns text
language sql immutable parallel safe as $$
  select case when jsonb_typeof(e) = 'string' then e #>> '{}' end
$$;

create or replace function qd.f64(e jsonb) returns float8
language sql immutable parallel safe as $$
  select case when jsonb_typeof(e) = 'number' then (e #>> '{}')::float8 end
$$;

-- The integer that a number is written as: 5, and not 5.0.
create or replace function qd.i64(e jsonb) returns int8
language sql immutable parallel safe as $$
  select case when jsonb_typeof(e) = 'number' and strpos(e #>> '{}', '.') = 0
    then case when e::numeric between -9223372036854775808 and 9223372036854775807
      then e::int8 end end
$$;

-- The integer that a number is, for an integer index: 5.0 is 5. What a double cannot tell from
-- 2^63 is the greatest integer.
create or replace function qd.i64x(e jsonb) returns int8
language plpgsql immutable parallel safe cost 5 as $$
declare x float8;
begin
  if jsonb_typeof(e) is distinct from 'number' then return null; end if;
  if strpos(e #>> '{}', '.') = 0 and e::numeric between -9223372036854775808 and 9223372036854775807 then
    return e::int8;
  end if;
  x := (e #>> '{}')::float8;
  if x = 9223372036854775808 then return 9223372036854775807; end if;
  if x >= -9223372036854775808 and x < 9223372036854775808 and x = trunc(x) then return x::int8; end if;
  return null;
end $$;

-- How many values a value is.
create or replace function qd.cnt(v jsonb) returns int
language sql immutable parallel safe as $$
  select case jsonb_typeof(v) when 'null' then 0 when 'array' then jsonb_array_length(v) else 1 end
$$;

create or replace function qd.uuid(e jsonb) returns uuid
language sql immutable parallel safe as $$
  select case when jsonb_typeof(e) = 'string'
      and e #>> '{}' ~ '^([0-9a-fA-F]{32}|[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[{][0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}[}]|[uU][rR][nN]:[uU][uU][iI][dD]:[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})$'
    then right(rtrim(e #>> '{}', '}'), case when length(e #>> '{}') = 32 then 32 else 36 end)::uuid end
$$;

-- Dates. -----------------------------------------------------------------------------------------

-- A date as Qdrant reads one, else null: whole seconds since 1970, times 2 * 10^9, plus the
-- nanoseconds, of which a leap second has up to twice as many. So two dates compare as in Qdrant.
-- It tries several patterns of the crate chrono; these are two regular expressions for all of
-- them: with a time zone and blanks between any two parts, and without blanks and with parts left
-- out at the end.
create or replace function qd.moment(s text) returns numeric
language plpgsql immutable strict parallel safe cost 40 as $fn$
declare
  m text[];
  y int8; mo int; d int; h int; mi int; se int;
  zone text;
  shift int := 0;
  days int8;
begin
  if s !~ '[0-9]' then return null; end if;
  -- Nearly all dates look like this. Cutting them up by hand takes a tenth of the time that the
  -- groups of a regular expression do.
  if s ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-][0-9]{2}:[0-5][0-9])?)?$' then
    zone := substr(s, 20);
    if zone like '.%' then zone := ltrim(zone, '.0123456789'); end if;
    m := array[substr(s, 1, 4), substr(s, 6, 2), substr(s, 9, 2), nullif(substr(s, 12, 2), ''),
      nullif(substr(s, 15, 2), ''), nullif(substr(s, 18, 2), ''),
      substr(s, 21, greatest(length(s) - 20 - length(zone), 0)), nullif(zone, '')];
  end if;
  if m is null then
    m := regexp_match(s, '^[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([+-][0-9]+|[0-9]{1,4})[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*-[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([0-9]{1,2})[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*-[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([0-9]{2}|[0-9](?![0-9]))[tT ][\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([0-9]{1,2})[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*:[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([0-9]{1,2})[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*:[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([0-9]{1,2})(?:[.]([0-9]{1,9})[0-9]*)?[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([uU][tT][cC]|[zZ]|[+\u2212-][0-9]{2}[:\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*[0-5][0-9])[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*$');
  end if;
  if m is null then
    m := regexp_match(s, '^[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([+-][0-9]+|[0-9]{1,4})-[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([0-9]{1,2})-[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([0-9]{2}|[0-9](?![0-9]))(?:(?:T|[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*)[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([0-9]{1,2}):[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([0-9]{1,2})(?::[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([0-9]{1,2})(?:[.]([0-9]{1,9})[0-9]*)?(?:[\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*([zZ]|[+\u2212-][0-9]{2}[:\u0009-\u000D\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*(?:[0-5][0-9])?))?)?)?$');
  end if;
  if m is null then return null; end if;
  if length(ltrim(m[1], '+-0')) > 6 then return null; end if;
  y := m[1]::numeric; mo := m[2]; d := m[3];
  h := coalesce(m[4], '0'); mi := coalesce(m[5], '0'); se := coalesce(m[6], '0');
  if mo not between 1 and 12 or d < 1 or h > 23 or mi > 59 or se > 60 or y not between -262143 and 262142
    or d > (case when mo in (4, 6, 9, 11) then 30 when mo <> 2 then 31
      when y % 4 = 0 and (y % 100 <> 0 or y % 400 = 0) then 29 else 28 end)
  then
    return null;
  end if;
  zone := m[8];
  if zone is not null and left(zone, 1) not in ('z', 'Z', 'u', 'U') then
    shift := substr(zone, 2, 2)::int * 3600
      + case when zone ~ '[0-9]{2}.*[0-9]{2}$' then right(zone, 2)::int * 60 else 0 end;
    if shift >= 86400 then return null; end if;
    if left(zone, 1) <> '+' then shift := -shift; end if;
  end if;
  if mo <= 2 then y := y - 1; mo := mo + 12; end if;
  -- 800000 years on, which are 292194000 days, so that division rounds down.
  y := y + 800000;
  days := 365 * y + y / 4 - y / 100 + y / 400 + (153 * (mo - 3) + 2) / 5 + d - 1 - 719468 - 292194000;
  days := days * 86400 + h * 3600 + mi * 60 + least(se, 59) - shift;
  if days not between -8334601228800 and 8210266876799 then return null; end if;
  return days::numeric * 2000000000 + rpad(coalesce(m[7], ''), 9, '0')::int8
    + case when se = 60 then 1000000000 else 0 end;
end $fn$;

-- Microseconds since 1970.
create or replace function qd.micros(s text) returns int8
language plpgsql immutable strict parallel safe cost 40 as $$
declare
  moment numeric := qd.moment(s);
  nanos numeric := mod(moment, 2000000000);
begin
  if nanos < 0 then nanos := nanos + 2000000000; end if;
  return (moment - nanos) / 2000 + div(nanos, 1000);
end $$;

-- Places. ----------------------------------------------------------------------------------------
-- Floats whose product would be too small for PostgreSQL's taste are taken for nought first.

create or replace function qd.is_place(e jsonb) returns bool
language sql immutable parallel safe as $$
  select jsonb_typeof(e) = 'object' and coalesce(jsonb_typeof(e -> 'lat') = 'number', false)
    and coalesce(jsonb_typeof(e -> 'lon') = 'number', false)
$$;

-- Whether a place is one on Earth, as an index of places wants it.
create or replace function qd.on_earth(e jsonb) returns bool
language sql immutable parallel safe as $$
  select case when qd.is_place(e) then qd.f64(e -> 'lat') between -90 and 90
    and qd.f64(e -> 'lon') between -180 and 180 else false end
$$;

create or replace function qd.in_box(e jsonb, top float8, "left" float8, bottom float8, "right" float8)
returns bool language plpgsql immutable parallel safe cost 20 as $$
declare lat float8; lon float8;
begin
  if not qd.is_place(e) then return false; end if;
  lat := qd.f64(e -> 'lat'); lon := qd.f64(e -> 'lon');
  return bottom < lat and lat < top
    and case when "left" > "right" then lon > "left" or lon < "right"
      else "left" < lon and lon < "right" end;
end $$;

-- Nearer than a distance in metres, along a great circle of the mean Earth.
create or replace function qd.in_circle(e jsonb, lat float8, lon float8, radius float8)
returns bool language plpgsql immutable parallel safe cost 20 as $$
declare
  rad constant float8 := 0.017453292519943295;
  lat2 float8; lon2 float8; u float8; v float8; a float8;
begin
  if not qd.is_place(e) then return false; end if;
  lat2 := qd.f64(e -> 'lat'); lon2 := qd.f64(e -> 'lon');
  u := lat2 - lat; v := lon2 - lon;
  if abs(u) < 1e-290 then u := 0; end if;
  if abs(v) < 1e-290 then v := 0; end if;
  if abs(lat) < 1e-290 then lat := 0; end if;
  if abs(lat2) < 1e-290 then lat2 := 0; end if;
  u := sin(u * rad / 2); v := sin(v * rad / 2);
  if abs(u) < 1e-130 then u := 0; end if;
  if abs(v) < 1e-130 then v := 0; end if;
  a := u * u + cos(lat * rad) * cos(lat2 * rad) * (v * v);
  return case when a between 0 and 1 then 6371008.8 * (2 * asin(sqrt(a))) < radius else false end;
end $$;

-- The very number that a double is. Its usual digits are only the shortest that lead back to it.
create or replace function qd.exact(x float8) returns numeric
language plpgsql immutable parallel safe as $$
declare
  bits bit(64) := ('x' || encode(float8send(x), 'hex'))::bit(64);
  power int := substring(bits from 2 for 11)::int;
  digits numeric := (substring(bits from 13 for 52))::int8;
begin
  if power = 0 then power := 1; else digits := digits + 4503599627370496; end if;
  if substring(bits from 1 for 1) = B'1' then digits := -digits; end if;
  power := power - 1075;
  if power >= 0 then return digits * power(2::numeric, power); end if;
  return digits * power(5::numeric, -power) * ('1e' || power)::numeric;
end $$;

-- On which side of the line from a to b the point c is: 1 left, 0 on it, -1 right. Exact.
create or replace function qd.side(ax float8, ay float8, bx float8, by float8, cx float8, cy float8)
returns int language plpgsql immutable parallel safe as $$
declare l float8; r float8; p float8; q float8; s float8; t float8;
begin
  p := ax - cx; q := by - cy; s := ay - cy; t := bx - cx;
  if (p = 0 or abs(p) > 1e-140) and (q = 0 or abs(q) > 1e-140)
    and (s = 0 or abs(s) > 1e-140) and (t = 0 or abs(t) > 1e-140) then
    l := p * q; r := s * t;
    if abs(l - r) > 1e-15 * (abs(l) + abs(r)) then return sign(l - r); end if;
  end if;
  return sign((qd.exact(ax) - qd.exact(cx)) * (qd.exact(by) - qd.exact(cy))
    - (qd.exact(ay) - qd.exact(cy)) * (qd.exact(bx) - qd.exact(cx)));
end $$;

-- Where a point is with respect to a ring (lon, lat, lon, lat, …, closed): 1 inside, 0 on it, -1
-- outside. By winding number.
create or replace function qd.in_ring(x float8, y float8, ring float8[]) returns int
language plpgsql immutable parallel safe as $$
declare
  x1 float8; y1 float8; x2 float8; y2 float8;
  winding int := 0;
  side int;
begin
  for i in 1 .. cardinality(ring) / 2 - 1 loop
    x1 := ring[2 * i - 1]; y1 := ring[2 * i]; x2 := ring[2 * i + 1]; y2 := ring[2 * i + 2];
    continue when (y1 <= y and y2 < y) or (y1 > y and y2 > y);
    side := qd.side(x1, y1, x2, y2, x, y);
    if side = 0 and x between least(x1, x2) and greatest(x1, x2) then return 0; end if;
    if y1 <= y then
      if side = 1 and y2 <> y then winding := winding + 1; end if;
    elsif side = -1 then
      winding := winding - 1;
    end if;
  end loop;
  return case when winding <> 0 then 1 else -1 end;
end $$;

-- Inside the first ring and outside the others. The rings lie one behind the other, `lengths`
-- tells how many floats each has.
create or replace function qd.in_polygon(e jsonb, rings float8[], lengths int[]) returns bool
language plpgsql immutable parallel safe cost 100 as $$
declare x float8; y float8; at int := 1;
begin
  if not qd.is_place(e) then return false; end if;
  x := qd.f64(e -> 'lon'); y := qd.f64(e -> 'lat');
  -- No ring gets that far, and products of such numbers do not fit a float.
  if abs(x) > 1000 or abs(y) > 1000 then return false; end if;
  for i in 1 .. cardinality(lengths) loop
    if qd.in_ring(x, y, rings[at : at + lengths[i] - 1]) <> (case when i = 1 then 1 else -1 end) then
      return false;
    end if;
    at := at + lengths[i];
  end loop;
  return true;
end $$;

-- Words. -----------------------------------------------------------------------------------------

-- Whether the tokens of a phrase stand in a text side by side.
create or replace function qd.has_phrase(tokens text[], phrase text[]) returns bool
language plpgsql immutable parallel safe cost 40 as $$
declare n int := cardinality(phrase);
begin
  if tokens is null or n = 0 then return false; end if;
  for i in 1 .. cardinality(tokens) - n + 1 loop
    if tokens[i] = phrase[1] and tokens[i : i + n - 1] = phrase then return true; end if;
  end loop;
  return false;
end $$;

create or replace function qd.texts(a jsonb) returns text[]
language sql immutable parallel safe as $$
  select array(select t from jsonb_array_elements_text(a) with ordinality e(t, o) order by o)
$$;

-- What payload indexes keep. ---------------------------------------------------------------------
-- Each is a little more than the truth, never less: the exact condition stands behind it. They are
-- dear, so that the planner looks at the exact condition first where it has no use for the index.

do $$ begin
  if to_regtype('qd.f8range') is null then
    create type qd.f8range as range (subtype = float8, subtype_diff = float8mi);
  end if;
end $$;

-- From the least to the greatest number.
create or replace function qd.span(p jsonb, path jsonpath) returns qd.f8range
language sql immutable parallel safe cost 10000 as $$
  select case when count(x) > 0 then qd.f8range(min(x), max(x), '[]') end
  from (select qd.f64(e) x from qd.flat(p, path) e) n
$$;

-- From the earliest to the latest date, in microseconds.
create or replace function qd.dspan(p jsonb, path jsonpath) returns qd.f8range
language sql immutable parallel safe cost 40000 as $$
  select case when count(x) > 0 then qd.f8range(min(x), max(x), '[]') end
  from (select qd.micros(qd.str(e))::float8 x from qd.flat(p, path) e) n
$$;

create or replace function qd.uuids(p jsonb, path jsonpath) returns uuid[]
language sql immutable parallel safe cost 40000 as $$
  select array_agg(u) from (select qd.uuid(e) u from qd.flat(p, path) e) n where u is not null
$$;

-- Around all places.
create or replace function qd.bbox(p jsonb, path jsonpath) returns box
language sql immutable parallel safe cost 40000 as $$
  select box(point(max(qd.f64(e -> 'lon')), max(qd.f64(e -> 'lat'))),
    point(min(qd.f64(e -> 'lon')), min(qd.f64(e -> 'lat'))))
  from qd.flat(p, path) e where qd.on_earth(e)
$$;
