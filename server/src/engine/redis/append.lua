-- Adds a message, or settles its number.
--
-- KEYS: 4 what is kept of its publisher. ARGV: 3 the kind of the publisher: c(lient), r(equest), n(one); 4 whether it
-- may make a room; 5 the client's number; 6 the message's id, or the digest of the request; 7 whether all numbers before
-- are settled; 8 the refusal: empty, `retry`, or `final` and its text; 9 whether a watcher has no capacity; 10 the
-- message; 11 the channel.
--
-- The answer: 2 if it made the room, 1 if the room was there before, 0 if there is none; a letter; the epoch; and after a
-- space what belongs to the outcome.

local publisher, kind, seq, id = KEYS[4], ARGV[3], ARGV[5], ARGV[6]
local refusal = ARGV[8]
local last = 0

local function answer(is_made, letter, rest)
    local existence = made and '1' or is_made == '1' and '2' or '0'
    return existence .. letter .. epoch .. ' ' .. (rest or '')
end

-- The outcome of the first time, unless its message was deleted with the room.
local function outcome_again(letter, rest)
    if letter == 'D' and tonumber(string.match(rest, '^%d+')) <= deleted then
        return answer('0', 'X')
    end
    return answer('0', letter, rest)
end

if kind == 'c' then
    local known = redis.call('HMGET', publisher, 'last', seq)
    local number = tonumber(seq)
    last = tonumber(known[1] or '0')
    if number <= last then
        local outcome = known[2]
        if not outcome then
            return answer('0', 'F')
        end
        if string.sub(outcome, 1, 16) ~= id then
            return answer('0', 'C')
        end
        return outcome_again(string.sub(outcome, 17, 17), string.sub(outcome, 18))
    end
    if number ~= last + 1 and ARGV[7] ~= '1' then
        return answer('0', 'G')
    end
elseif kind == 'r' then
    local outcome = redis.call('GET', publisher)
    if outcome then
        if string.sub(outcome, 1, 64) ~= id then
            return answer('0', 'K')
        end
        return outcome_again('D', string.sub(outcome, 65))
    end
end

if refusal == 'retry' then
    return answer('0', 'T')
end
if refusal == '' and ARGV[9] == '1' then
    return answer('0', 'B')
end
if not made and ARGV[4] ~= '1' then
    return answer('0', 'N')
end

local is_made = '0'
if not made then
    if not is_stored then
        store()
    end
    is_made = '1'
    redis.call('HSET', state_key, 'made', text(now))
end
local letter, rest, settled
if refusal == '' then
    local message = ARGV[10]
    local weight = #message + OVERHEAD
    trim(1, weight)
    if head == floor then
        renew = 0
    end
    at = math.max(now, at)
    head = head + 1
    bytes = bytes + weight
    local offset, when = text(head), text(at)
    redis.call('XADD', log_key, offset .. '-0', 'at', when, 'message', message)
    redis.call('HSET', state_key, 'head', offset, 'bytes', text(bytes), 'at', when)
    if not oldest then
        redis.call('HSET', state_key, 'oldest', when)
    end
    redis.call(PUBLISH, ARGV[11], epoch .. ' ' .. offset .. ' ' .. when .. '\n' .. message)
    letter, rest = 'A', offset .. ' ' .. when
    settled = 'D' .. rest
else
    letter, rest = 'R', string.sub(refusal, 6)
    settled = 'R' .. rest
end
keep()
if kind == 'c' then
    local number, former = tonumber(seq), {}
    if number ~= last + 1 then
        former = redis.call('HKEYS', publisher)
    end
    redis.call('HSET', publisher, 'last', seq, seq, id .. settled)
    -- The key is not deleted before it is written: a cluster that moves the slot would refuse to make it again.
    for _, field in ipairs(former) do
        if field ~= 'last' and field ~= seq then
            redis.call('HDEL', publisher, field)
        end
    end
    if number > OUTCOMES then
        redis.call('HDEL', publisher, text(number - OUTCOMES))
    end
    redis.call('PEXPIRE', publisher, text(IDLE))
elseif kind == 'r' and letter == 'A' then
    redis.call('SET', publisher, id .. rest, 'PX', text(REQUEST_AGE))
end
return answer(is_made, letter, rest)
