-- The load of one cell of `compare`, and its result as one line of JSON for the program to read.
-- wrk's own output rounds and changes units; this gives the plain figures.
--
-- Arguments after `--`: a file with the request bodies, a line each, one of which is taken at random
-- for each request ("" for none), the method, the mean pause
-- before each request in milliseconds (0: none), and the seed of those pauses.

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("thread_number", threads)
end

function init(arguments)
  local body_path, method = arguments[1], arguments[2]
  local pause_ms_mean, seed = tonumber(arguments[3]), tonumber(arguments[4])
  math.randomseed(seed * 1000 + thread_number)
  wrk.method = method
  if body_path ~= "" then
    local file = assert(io.open(body_path, "rb"))
    local text = file:read("*a")
    file:close()
    wrk.headers["Content-Type"] = "application/json"
    if text:find("\n") then
      requests_of(text)
    else
      wrk.body = text
    end
  end
  if pause_ms_mean > 0 then
    -- Pauses of one length would march all connections in step and turn a steady rate into
    -- bursts. Exponential ones make arrivals that do not know of each other.
    function delay()
      return math.floor(-math.log(1 - math.random()) * pause_ms_mean + 0.5)
    end
  end
end

-- Built beforehand: what a request costs to build is not to be measured.
function requests_of(text)
  local built = {}
  for body in text:gmatch("[^\n]+") do
    built[#built + 1] = wrk.format(nil, nil, nil, body)
  end
  function request()
    return built[math.random(#built)]
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "microseconds": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, ' ..
    '"max_us": %d, "errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d, ' ..
    '"status": %d}}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50),
    latency:percentile(99), latency.max, errors.connect, errors.read, errors.write,
    errors.timeout, errors.status))
end
