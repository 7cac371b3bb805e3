-- What all scripts begin with: the state of a room's log. Before this text stand the bounds, as local numbers:
-- IDLE, AGE, MESSAGES, BYTES, OUTCOMES, OVERHEAD, REQUEST_AGE (times in milliseconds), FORKS, and PUBLISH, the command.
--
-- KEYS: 1 the state (a hash), 2 the messages (a stream), 3 the generation. ARGV: 1 the history of the data as the server
-- knows it, which is master_replid: new after each start of a Redis and each promotion of a replica, and sometimes of a
-- Redis that goes on; 2 sixteen random digits.

local state_key, log_key, generation_key = KEYS[1], KEYS[2], KEYS[3]
local history, random = ARGV[1], ARGV[2]
-- A server that has not seen yet that this is another life connects again. If its history were taken for a newer one
-- than that in the state, it would begin an epoch, and servers that know different ones would do so in turn.
if string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') ~= history then
    return redis.error_reply('STALE the data has another history')
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function text(number)
    return string.format('%.0f', number)
end

local fields = redis.call('HMGET', state_key, 'epoch', 'history', 'head', 'floor', 'bytes', 'at', 'oldest', 'renew',
    'made', 'forks', 'deleted')
local is_stored = fields[1]
local epoch, head, floor, bytes, at, oldest, renew, made = fields[1], 0, 0, 0, 0, nil, 0, fields[9]
local forks = fields[10] or ''
-- The newest message of those that were deleted with the room.
local deleted = tonumber(fields[11] or '0')
if is_stored then
    head, floor, bytes = tonumber(fields[3]), tonumber(fields[4]), tonumber(fields[5])
    at, oldest, renew = tonumber(fields[6]), tonumber(fields[7] or ''), tonumber(fields[8])
    if fields[2] ~= history then
        -- Another life of the data: its newest messages may be lost, and their offsets are given again. So the room
        -- continues in a new epoch from what is left.
        local shared = { epoch .. ':' .. text(head) }
        for of, offset in string.gmatch(forks, '(%S+):(%d+)') do
            if #shared < FORKS then
                shared[#shared + 1] = of .. ':' .. text(math.min(tonumber(offset), head))
            end
        end
        forks = table.concat(shared, ' ')
        epoch = random
        redis.call('HSET', state_key, 'epoch', epoch, 'history', history, 'forks', forks)
    end
else
    -- A room without a log has the epoch of its generation, which lasts as long as a log is kept after its last use at
    -- least. So a room that expired and comes back has another epoch.
    local generation = redis.call('GET', generation_key)
    local nonce, of, ends = string.match(generation or '', '^(%S+) (%S+) (%S+)$')
    if of ~= history or tonumber(ends) <= now then
        nonce = random
        redis.call('SET', generation_key, nonce .. ' ' .. history .. ' ' .. text(now + IDLE), 'PX', text(2 * IDLE))
    end
    epoch = string.sub(redis.sha1hex(nonce .. ' ' .. state_key), 1, 16)
end

local function store()
    redis.call('HSET', state_key, 'epoch', epoch, 'history', history, 'head', text(head), 'floor', text(floor), 'bytes',
        text(bytes), 'at', text(at), 'renew', text(renew))
    is_stored = true
end

-- Puts off the expiry of the room.
local function keep()
    if now >= renew then
        local ttl = text(IDLE + math.floor(IDLE / 8))
        renew = now + math.floor(IDLE / 8)
        redis.call('HSET', state_key, 'renew', text(renew))
        redis.call('PEXPIRE', state_key, ttl)
        redis.call('PEXPIRE', log_key, ttl)
    end
end

-- Drops the oldest messages that are too old, or for which there is no capacity beside `count` more of `weight` bytes.
-- If it drops for capacity, it drops a little more than it must, so that the next messages need not drop any.
local function trim(count, weight)
    local cutoff = now - AGE
    local messages, most = MESSAGES - count, BYTES - weight
    local is_old = oldest and oldest < cutoff
    if head - floor <= messages and bytes <= most and not is_old then
        return
    end
    if head - floor > messages then
        messages = math.max(0, messages - math.floor(MESSAGES / 64))
    end
    if bytes > most then
        most = math.max(0, most - math.floor(BYTES / 64))
    end
    local to, first = floor, nil
    while to < head and not first do
        local entries = redis.call('XRANGE', log_key, text(to + 1), '+', 'COUNT', 16)
        if #entries == 0 then
            to, bytes = head, 0
        end
        for _, entry in ipairs(entries) do
            local added = tonumber(entry[2][2])
            if head - to <= messages and bytes <= most and added >= cutoff then
                first = added
                break
            end
            to = tonumber(string.match(entry[1], '^%d+'))
            bytes = math.max(0, bytes - #entry[2][4] - OVERHEAD)
        end
    end
    redis.call('XTRIM', log_key, 'MINID', text(to + 1))
    floor, oldest = to, first
    redis.call('HSET', state_key, 'floor', text(floor), 'bytes', text(bytes))
    if oldest then
        redis.call('HSET', state_key, 'oldest', text(oldest))
    else
        redis.call('HDEL', state_key, 'oldest')
    end
end
