-- awaiting_get
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM tasks 
WHERE tasks.instance_id = %(id)s::UUID AND tasks.awaits = %(awaits)s::VARCHAR;

-- blob_get
SELECT blobs.body 
FROM blobs 
WHERE blobs.instance_id = %(id)s::UUID AND blobs.key = %(key)s::VARCHAR COLLATE "C";

-- blob_new
INSERT INTO blobs (instance_id, key, body) SELECT anon_1.instance_id, anon_1.key, anon_1.body 
FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(key)s::VARCHAR AS TEXT[]), CAST(%(body)s::VARCHAR AS TEXT[])) AS anon_1(instance_id, key, body) ON CONFLICT DO NOTHING;

-- blocked_lock
WITH peek AS MATERIALIZED 
(SELECT head.instance_id AS instance_id, head.path AS path 
FROM unnest(CAST(%(counters)s::VARCHAR AS TEXT[])) AS anon_1(counter) JOIN LATERAL (SELECT tasks.instance_id AS instance_id, tasks.path AS path 
FROM tasks 
WHERE tasks.blocked_on = anon_1.counter AND tasks.queue = any(CAST(%(queues)s::VARCHAR AS TEXT[])) AND tasks.executor = any(CAST(%(executors)s::VARCHAR AS TEXT[])) ORDER BY tasks.priority DESC, tasks.blocked_at 
 LIMIT %(peek)s) AS head ON true)
 SELECT instances.id, instances.definition_id, instances.name, instances.version, instances.state, instances.key, instances.gen, instances.sweeps, instances.inputs, instances.inputs_ref, instances.reason, instances.created_at, instances.started_at, instances.ended_at, instances.parent_id, instances.parent_path, instances.depth, instances.mutex, instances.labels, instances.start_at, instances.expires_at, instances.vars_rev, instances.queue, instances.priority, instances.scheduled_for 
FROM instances 
WHERE instances.id IN (SELECT peek.instance_id 
FROM peek) ORDER BY instances.id FOR NO KEY UPDATE SKIP LOCKED;

-- blocked_read
WITH peek AS MATERIALIZED 
(SELECT head.instance_id AS instance_id, head.path AS path 
FROM unnest(CAST(%(counters)s::VARCHAR AS TEXT[])) AS anon_1(counter) JOIN LATERAL (SELECT tasks.instance_id AS instance_id, tasks.path AS path 
FROM tasks 
WHERE tasks.blocked_on = anon_1.counter AND tasks.queue = any(CAST(%(queues)s::VARCHAR AS TEXT[])) AND tasks.executor = any(CAST(%(executors)s::VARCHAR AS TEXT[])) ORDER BY tasks.priority DESC, tasks.blocked_at 
 LIMIT %(peek)s) AS head ON true)
 SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM peek JOIN tasks ON tasks.instance_id = peek.instance_id AND tasks.path = peek.path ORDER BY tasks.priority DESC, tasks.blocked_at;

-- checkpoint_set
INSERT INTO checkpoints (instance_id, path, attempt, at, value) SELECT anon_1.instance_id, anon_1.path, anon_1.attempt, anon_1.at, anon_1.value 
FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(path)s::VARCHAR AS TEXT[]), CAST(%(attempt)s::VARCHAR AS INTEGER[]), CAST(%(at)s::VARCHAR AS BIGINT[]), CAST(%(value)s::VARCHAR AS TEXT[])) AS anon_1(instance_id, path, attempt, at, value) ON CONFLICT (instance_id, path) DO UPDATE SET attempt = excluded.attempt, at = excluded.at, value = excluded.value;

-- children_get
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM tasks 
WHERE tasks.instance_id = %(id)s::UUID AND tasks.path > %(after)s::VARCHAR COLLATE "C" AND tasks.path < %(high)s::VARCHAR COLLATE "C" AND tasks.scope = %(scope)s::VARCHAR COLLATE "C" AND tasks.state IN ('cancelled', 'completed', 'expired', 'failed', 'skipped') ORDER BY tasks.path 
 LIMIT %(limit)s;

-- clock
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- copy_blobs
INSERT INTO blobs (instance_id, key, body) SELECT %(target)s::UUID AS anon_1, blobs.key, blobs.body 
FROM blobs 
WHERE blobs.instance_id = %(source)s::UUID ON CONFLICT DO NOTHING;

-- copy_tasks
INSERT INTO tasks (instance_id, path, scope, executor, gen, state, attempt, failures, crashes, engine, queue, priority, ready_at, wake_at, remaining, open, total, next, width, done, failed, skipped, closed, cursor, output, output_ref, error, started_at, ended_at, phase, deadline_at, awaits, memo, excused, blocked_on, blocked_at, holds) SELECT %(target)s::UUID AS anon_1, tasks.path, tasks.scope, tasks.executor, 0, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM tasks 
WHERE tasks.instance_id = %(source)s::UUID AND (tasks.path >= (%(prefix)s::VARCHAR COLLATE "C" || '.') AND tasks.path < (%(prefix)s::VARCHAR COLLATE "C" || '/') OR tasks.path >= (%(prefix)s::VARCHAR COLLATE "C" || '[') AND tasks.path < (%(prefix)s::VARCHAR COLLATE "C" || '\') OR tasks.path >= (%(prefix)s::VARCHAR COLLATE "C" || '#') AND tasks.path < (%(prefix)s::VARCHAR COLLATE "C" || '$') OR tasks.path >= (%(prefix)s::VARCHAR COLLATE "C" || '!') AND tasks.path < (%(prefix)s::VARCHAR COLLATE "C" || '"')) AND tasks.state IN ('cancelled', 'completed', 'expired', 'failed', 'skipped');

-- copy_vars
INSERT INTO vars (instance_id, scope, name, writer, rev, gen, value, value_ref) SELECT %(target)s::UUID AS anon_1, vars.scope, vars.name, vars.writer, vars.rev, 0, vars.value, vars.value_ref 
FROM vars 
WHERE vars.instance_id = %(source)s::UUID AND (vars.scope = %(prefix)s::VARCHAR COLLATE "C" OR vars.scope >= (%(prefix)s::VARCHAR COLLATE "C" || '.') AND vars.scope < (%(prefix)s::VARCHAR COLLATE "C" || '/') OR vars.scope >= (%(prefix)s::VARCHAR COLLATE "C" || '[') AND vars.scope < (%(prefix)s::VARCHAR COLLATE "C" || '\') OR vars.scope >= (%(prefix)s::VARCHAR COLLATE "C" || '#') AND vars.scope < (%(prefix)s::VARCHAR COLLATE "C" || '$') OR vars.scope >= (%(prefix)s::VARCHAR COLLATE "C" || '!') AND vars.scope < (%(prefix)s::VARCHAR COLLATE "C" || '"') OR vars.writer = %(prefix)s::VARCHAR COLLATE "C" OR vars.writer >= (%(prefix)s::VARCHAR COLLATE "C" || '.') AND vars.writer < (%(prefix)s::VARCHAR COLLATE "C" || '/') OR vars.writer >= (%(prefix)s::VARCHAR COLLATE "C" || '[') AND vars.writer < (%(prefix)s::VARCHAR COLLATE "C" || '\') OR vars.writer >= (%(prefix)s::VARCHAR COLLATE "C" || '#') AND vars.writer < (%(prefix)s::VARCHAR COLLATE "C" || '$') OR vars.writer >= (%(prefix)s::VARCHAR COLLATE "C" || '!') AND vars.writer < (%(prefix)s::VARCHAR COLLATE "C" || '"')) ON CONFLICT DO NOTHING;

-- definition_get
SELECT definitions.id, definitions.name, definitions.version, definitions.hash, definitions.body, definitions.state, definitions.created_at 
FROM definitions 
WHERE definitions.id = %(id)s::UUID;

-- due_lock
WITH peek AS MATERIALIZED 
(SELECT tasks.instance_id AS instance_id, tasks.path AS path 
FROM tasks 
WHERE tasks.wake_at IS NOT NULL AND tasks.wake_at <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint ORDER BY tasks.wake_at 
 LIMIT %(peek)s)
 SELECT instances.id, instances.definition_id, instances.name, instances.version, instances.state, instances.key, instances.gen, instances.sweeps, instances.inputs, instances.inputs_ref, instances.reason, instances.created_at, instances.started_at, instances.ended_at, instances.parent_id, instances.parent_path, instances.depth, instances.mutex, instances.labels, instances.start_at, instances.expires_at, instances.vars_rev, instances.queue, instances.priority, instances.scheduled_for 
FROM instances 
WHERE instances.id IN (SELECT peek.instance_id 
FROM peek) ORDER BY instances.id FOR NO KEY UPDATE SKIP LOCKED;

-- due_read
WITH peek AS MATERIALIZED 
(SELECT tasks.instance_id AS instance_id, tasks.path AS path 
FROM tasks 
WHERE tasks.wake_at IS NOT NULL AND tasks.wake_at <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint ORDER BY tasks.wake_at 
 LIMIT %(peek)s)
 SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM peek JOIN tasks ON tasks.instance_id = peek.instance_id AND tasks.path = peek.path ORDER BY tasks.priority DESC, tasks.ready_at;

-- fence
UPDATE engines SET batch=%(n)s::BIGINT, lease_until=((extract(epoch FROM clock_timestamp()) * 1000000)::bigint + %(ttl)s) WHERE engines.id = %(me)s::UUID AND engines.state = 'alive' RETURNING engines.lease_until, set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true), set_config('lock_timeout', '1000', true), set_config('statement_timeout', '10000', true), set_config('idle_in_transaction_session_timeout', '10000', true);

-- instance_new
INSERT INTO instances (id, definition_id, name, version, state, key, gen, inputs, inputs_ref, created_at, started_at, ended_at, parent_id, parent_path, depth, mutex, labels, start_at, expires_at, vars_rev, queue, priority, scheduled_for) SELECT anon_1.id, anon_1.definition_id, anon_1.name, anon_1.version, anon_1.state, anon_1.key, anon_1.gen, anon_1.inputs, anon_1.inputs_ref, anon_1.created_at, anon_1.started_at, anon_1.ended_at, anon_1.parent_id, anon_1.parent_path, anon_1.depth, anon_1.mutex, anon_1.labels, anon_1.start_at, anon_1.expires_at, anon_1.vars_rev, anon_1.queue, anon_1.priority, anon_1.scheduled_for 
FROM unnest(CAST(%(id)s::VARCHAR AS UUID[]), CAST(%(definition_id)s::VARCHAR AS UUID[]), CAST(%(name)s::VARCHAR AS TEXT[]), CAST(%(version)s::VARCHAR AS INTEGER[]), CAST(%(state)s::VARCHAR AS TEXT[]), CAST(%(key)s::VARCHAR AS TEXT[]), CAST(%(gen)s::VARCHAR AS INTEGER[]), CAST(%(inputs)s::VARCHAR AS TEXT[]), CAST(%(inputs_ref)s::VARCHAR AS TEXT[]), CAST(%(created_at)s::VARCHAR AS BIGINT[]), CAST(%(started_at)s::VARCHAR AS BIGINT[]), CAST(%(ended_at)s::VARCHAR AS BIGINT[]), CAST(%(parent_id)s::VARCHAR AS UUID[]), CAST(%(parent_path)s::VARCHAR AS TEXT[]), CAST(%(depth)s::VARCHAR AS INTEGER[]), CAST(%(mutex)s::VARCHAR AS TEXT[]), CAST(%(labels)s::VARCHAR AS TEXT[]), CAST(%(start_at)s::VARCHAR AS BIGINT[]), CAST(%(expires_at)s::VARCHAR AS BIGINT[]), CAST(%(vars_rev)s::VARCHAR AS INTEGER[]), CAST(%(queue)s::VARCHAR AS TEXT[]), CAST(%(priority)s::VARCHAR AS INTEGER[]), CAST(%(scheduled_for)s::VARCHAR AS BIGINT[])) AS anon_1(id, definition_id, name, version, state, key, gen, inputs, inputs_ref, created_at, started_at, ended_at, parent_id, parent_path, depth, mutex, labels, start_at, expires_at, vars_rev, queue, priority, scheduled_for);

-- instance_set
UPDATE instances SET definition_id=anon_1.definition_id, version=anon_1.version, state=anon_1.state, gen=anon_1.gen, sweeps=anon_1.sweeps, reason=anon_1.reason, started_at=anon_1.started_at, ended_at=anon_1.ended_at, vars_rev=anon_1.vars_rev FROM unnest(CAST(%(id)s::VARCHAR AS UUID[]), CAST(%(definition_id)s::VARCHAR AS UUID[]), CAST(%(version)s::VARCHAR AS INTEGER[]), CAST(%(state)s::VARCHAR AS TEXT[]), CAST(%(gen)s::VARCHAR AS INTEGER[]), CAST(%(sweeps)s::VARCHAR AS INTEGER[]), CAST(%(reason)s::VARCHAR AS TEXT[]), CAST(%(started_at)s::VARCHAR AS BIGINT[]), CAST(%(ended_at)s::VARCHAR AS BIGINT[]), CAST(%(vars_rev)s::VARCHAR AS INTEGER[])) AS anon_1(id, definition_id, version, state, gen, sweeps, reason, started_at, ended_at, vars_rev) WHERE instances.id = anon_1.id;

-- journal
INSERT INTO journal (seq, instance_id, path, gen, attempt, from_state, to_state, reason, at, engine) SELECT nextval('journal_seq') AS next_value_1, anon_1.instance_id, anon_1.path, anon_1.gen, anon_1.attempt, anon_1.from_state, anon_1.to_state, anon_1.reason, anon_1.at, anon_1.engine 
FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(path)s::VARCHAR AS TEXT[]), CAST(%(gen)s::VARCHAR AS INTEGER[]), CAST(%(attempt)s::VARCHAR AS INTEGER[]), CAST(%(from_state)s::VARCHAR AS TEXT[]), CAST(%(to_state)s::VARCHAR AS TEXT[]), CAST(%(reason)s::VARCHAR AS TEXT[]), CAST(%(at)s::VARCHAR AS BIGINT[]), CAST(%(engine)s::VARCHAR AS UUID[])) AS anon_1(instance_id, path, gen, attempt, from_state, to_state, reason, at, engine);

-- key_end
DELETE FROM keys USING unnest(CAST(%(name)s::VARCHAR AS TEXT[]), CAST(%(kind)s::VARCHAR AS TEXT[]), CAST(%(key)s::VARCHAR AS TEXT[]), CAST(%(instance_id)s::VARCHAR AS UUID[])) AS anon_1(name, kind, key, instance_id) WHERE keys.name = anon_1.name AND keys.kind = anon_1.kind AND keys.key = anon_1.key AND keys.instance_id = anon_1.instance_id;

-- key_get
SELECT keys.instance_id 
FROM keys 
WHERE keys.name = %(name)s::VARCHAR AND keys.kind = %(kind)s::VARCHAR AND keys.key = %(key)s::VARCHAR;

-- key_new
INSERT INTO keys (name, kind, key, instance_id) SELECT anon_1.name, anon_1.kind, anon_1.key, anon_1.instance_id 
FROM unnest(CAST(%(name)s::VARCHAR AS TEXT[]), CAST(%(kind)s::VARCHAR AS TEXT[]), CAST(%(key)s::VARCHAR AS TEXT[]), CAST(%(instance_id)s::VARCHAR AS UUID[])) AS anon_1(name, kind, key, instance_id) ON CONFLICT DO NOTHING;

-- label_new
INSERT INTO labels (instance_id, name, value) SELECT anon_1.instance_id, anon_1.name, anon_1.value 
FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(name)s::VARCHAR AS TEXT[]), CAST(%(value)s::VARCHAR AS TEXT[])) AS anon_1(instance_id, name, value) ON CONFLICT DO NOTHING;

-- leaf_new
INSERT INTO tasks (instance_id, path, scope, executor, gen, state, attempt, engine, queue, priority, ready_at, wake_at, remaining, started_at, ended_at) SELECT anon_1.instance_id, anon_1.path, anon_1.scope, anon_1.executor, anon_1.gen, anon_1.state, anon_1.attempt, anon_1.engine, anon_1.queue, anon_1.priority, anon_1.ready_at, anon_1.wake_at, anon_1.remaining, anon_1.started_at, anon_1.ended_at 
FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(path)s::VARCHAR AS TEXT[]), CAST(%(scope)s::VARCHAR AS TEXT[]), CAST(%(executor)s::VARCHAR AS TEXT[]), CAST(%(gen)s::VARCHAR AS INTEGER[]), CAST(%(state)s::VARCHAR AS TEXT[]), CAST(%(attempt)s::VARCHAR AS INTEGER[]), CAST(%(engine)s::VARCHAR AS UUID[]), CAST(%(queue)s::VARCHAR AS TEXT[]), CAST(%(priority)s::VARCHAR AS INTEGER[]), CAST(%(ready_at)s::VARCHAR AS BIGINT[]), CAST(%(wake_at)s::VARCHAR AS BIGINT[]), CAST(%(remaining)s::VARCHAR AS INTEGER[]), CAST(%(started_at)s::VARCHAR AS BIGINT[]), CAST(%(ended_at)s::VARCHAR AS BIGINT[])) AS anon_1(instance_id, path, scope, executor, gen, state, attempt, engine, queue, priority, ready_at, wake_at, remaining, started_at, ended_at);

-- leaf_set
UPDATE tasks SET gen=anon_1.gen, state=anon_1.state, attempt=anon_1.attempt, failures=anon_1.failures, crashes=anon_1.crashes, engine=anon_1.engine, ready_at=anon_1.ready_at, wake_at=anon_1.wake_at, remaining=anon_1.remaining, closed=anon_1.closed, output=anon_1.output, output_ref=anon_1.output_ref, error=anon_1.error, started_at=anon_1.started_at, ended_at=anon_1.ended_at FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(path)s::VARCHAR AS TEXT[]), CAST(%(gen)s::VARCHAR AS INTEGER[]), CAST(%(state)s::VARCHAR AS TEXT[]), CAST(%(attempt)s::VARCHAR AS INTEGER[]), CAST(%(failures)s::VARCHAR AS INTEGER[]), CAST(%(crashes)s::VARCHAR AS INTEGER[]), CAST(%(engine)s::VARCHAR AS UUID[]), CAST(%(ready_at)s::VARCHAR AS BIGINT[]), CAST(%(wake_at)s::VARCHAR AS BIGINT[]), CAST(%(remaining)s::VARCHAR AS INTEGER[]), CAST(%(closed)s::VARCHAR AS TEXT[]), CAST(%(output)s::VARCHAR AS TEXT[]), CAST(%(output_ref)s::VARCHAR AS TEXT[]), CAST(%(error)s::VARCHAR AS TEXT[]), CAST(%(started_at)s::VARCHAR AS BIGINT[]), CAST(%(ended_at)s::VARCHAR AS BIGINT[])) AS anon_1(instance_id, path, gen, state, attempt, failures, crashes, engine, ready_at, wake_at, remaining, closed, output, output_ref, error, started_at, ended_at) WHERE tasks.instance_id = anon_1.instance_id AND tasks.path = anon_1.path;

-- limit_new
INSERT INTO limits (name, updated_at) SELECT anon_1.name, anon_1.updated_at 
FROM unnest(CAST(%(name)s::VARCHAR AS TEXT[]), CAST(%(updated_at)s::VARCHAR AS BIGINT[])) AS anon_1(name, updated_at) ON CONFLICT DO NOTHING;

-- limit_set
UPDATE limits SET used=anon_1.used, waiting=anon_1.waiting, full_at=anon_1.full_at, updated_at=anon_1.updated_at FROM unnest(CAST(%(name)s::VARCHAR AS TEXT[]), CAST(%(used)s::VARCHAR AS INTEGER[]), CAST(%(waiting)s::VARCHAR AS INTEGER[]), CAST(%(full_at)s::VARCHAR AS BIGINT[]), CAST(%(updated_at)s::VARCHAR AS BIGINT[])) AS anon_1(name, used, waiting, full_at, updated_at) WHERE limits.name = anon_1.name;

-- limit_waiting
SELECT limits.waiting 
FROM limits 
WHERE limits.name = %(name)s::VARCHAR;

-- limits_lock
SELECT limits.name, limits.concurrency, limits.rate_count, limits.rate_period, limits.burst, limits.explicit, limits.used, limits.waiting, limits.full_at, limits.updated_at 
FROM limits 
WHERE limits.name = any(CAST(%(names)s::VARCHAR AS TEXT[])) ORDER BY limits.name FOR NO KEY UPDATE;

-- limits_set
SELECT limits.name 
FROM limits 
WHERE limits.explicit = 1;

-- lock_instances
SELECT instances.id, instances.definition_id, instances.name, instances.version, instances.state, instances.key, instances.gen, instances.sweeps, instances.inputs, instances.inputs_ref, instances.reason, instances.created_at, instances.started_at, instances.ended_at, instances.parent_id, instances.parent_path, instances.depth, instances.mutex, instances.labels, instances.start_at, instances.expires_at, instances.vars_rev, instances.queue, instances.priority, instances.scheduled_for 
FROM instances 
WHERE instances.id = any(CAST(%(ids)s::VARCHAR AS UUID[])) ORDER BY instances.id FOR NO KEY UPDATE;

-- log_new
INSERT INTO logs (seq, instance_id, path, attempt, at, level, message) SELECT nextval('journal_seq') AS next_value_1, anon_1.instance_id, anon_1.path, anon_1.attempt, anon_1.at, anon_1.level, anon_1.message 
FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(path)s::VARCHAR AS TEXT[]), CAST(%(attempt)s::VARCHAR AS INTEGER[]), CAST(%(at)s::VARCHAR AS BIGINT[]), CAST(%(level)s::VARCHAR AS TEXT[]), CAST(%(message)s::VARCHAR AS TEXT[])) AS anon_1(instance_id, path, attempt, at, level, message);

-- message_end
DELETE FROM messages USING unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(source)s::VARCHAR AS TEXT[])) AS anon_1(instance_id, source) WHERE messages.instance_id = anon_1.instance_id AND messages.source = anon_1.source;

-- message_new
INSERT INTO messages (instance_id, source, kind, body, at) SELECT anon_1.instance_id, anon_1.source, anon_1.kind, anon_1.body, anon_1.at 
FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(source)s::VARCHAR AS TEXT[]), CAST(%(kind)s::VARCHAR AS TEXT[]), CAST(%(body)s::VARCHAR AS TEXT[]), CAST(%(at)s::VARCHAR AS BIGINT[])) AS anon_1(instance_id, source, kind, body, at) ON CONFLICT DO NOTHING;

-- next_wake
SELECT min(tasks.wake_at) AS min_1 
FROM tasks 
WHERE tasks.wake_at IS NOT NULL;

-- open_under
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM tasks 
WHERE tasks.instance_id = %(id)s::UUID AND tasks.path > %(low)s::VARCHAR COLLATE "C" AND tasks.path < %(high)s::VARCHAR COLLATE "C" AND tasks.state NOT IN ('cancelled', 'completed', 'expired', 'failed', 'skipped') ORDER BY tasks.path 
 LIMIT %(limit)s;

-- progress_set
INSERT INTO progress (instance_id, path, attempt, at, fraction, message) SELECT anon_1.instance_id, anon_1.path, anon_1.attempt, anon_1.at, anon_1.fraction, anon_1.message 
FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(path)s::VARCHAR AS TEXT[]), CAST(%(attempt)s::VARCHAR AS INTEGER[]), CAST(%(at)s::VARCHAR AS BIGINT[]), CAST(%(fraction)s::VARCHAR AS FLOAT[]), CAST(%(message)s::VARCHAR AS TEXT[])) AS anon_1(instance_id, path, attempt, at, fraction, message) ON CONFLICT (instance_id, path) DO UPDATE SET attempt = excluded.attempt, at = excluded.at, fraction = excluded.fraction, message = excluded.message;

-- prune_blobs
DELETE FROM blobs WHERE blobs.instance_id = %(id)s::UUID AND (blobs.key >= ('items:' || %(prefix)s::VARCHAR COLLATE "C" || ':') AND blobs.key < ('items:' || %(prefix)s::VARCHAR COLLATE "C" || ';') OR blobs.key >= ('items:' || %(prefix)s::VARCHAR COLLATE "C" || '.') AND blobs.key < ('items:' || %(prefix)s::VARCHAR COLLATE "C" || '/') OR blobs.key >= ('items:' || %(prefix)s::VARCHAR COLLATE "C" || '[') AND blobs.key < ('items:' || %(prefix)s::VARCHAR COLLATE "C" || '\') OR blobs.key >= ('items:' || %(prefix)s::VARCHAR COLLATE "C" || '#') AND blobs.key < ('items:' || %(prefix)s::VARCHAR COLLATE "C" || '$') OR blobs.key >= ('items:' || %(prefix)s::VARCHAR COLLATE "C" || '!') AND blobs.key < ('items:' || %(prefix)s::VARCHAR COLLATE "C" || '"') OR blobs.key >= ('keys:' || %(prefix)s::VARCHAR COLLATE "C" || ':') AND blobs.key < ('keys:' || %(prefix)s::VARCHAR COLLATE "C" || ';') OR blobs.key >= ('keys:' || %(prefix)s::VARCHAR COLLATE "C" || '.') AND blobs.key < ('keys:' || %(prefix)s::VARCHAR COLLATE "C" || '/') OR blobs.key >= ('keys:' || %(prefix)s::VARCHAR COLLATE "C" || '[') AND blobs.key < ('keys:' || %(prefix)s::VARCHAR COLLATE "C" || '\') OR blobs.key >= ('keys:' || %(prefix)s::VARCHAR COLLATE "C" || '#') AND blobs.key < ('keys:' || %(prefix)s::VARCHAR COLLATE "C" || '$') OR blobs.key >= ('keys:' || %(prefix)s::VARCHAR COLLATE "C" || '!') AND blobs.key < ('keys:' || %(prefix)s::VARCHAR COLLATE "C" || '"'));

-- prune_checkpoints
DELETE FROM checkpoints WHERE checkpoints.instance_id = %(id)s::UUID AND (checkpoints.path = %(prefix)s::VARCHAR COLLATE "C" OR checkpoints.path >= (%(prefix)s::VARCHAR COLLATE "C" || '.') AND checkpoints.path < (%(prefix)s::VARCHAR COLLATE "C" || '/') OR checkpoints.path >= (%(prefix)s::VARCHAR COLLATE "C" || '[') AND checkpoints.path < (%(prefix)s::VARCHAR COLLATE "C" || '\') OR checkpoints.path >= (%(prefix)s::VARCHAR COLLATE "C" || '#') AND checkpoints.path < (%(prefix)s::VARCHAR COLLATE "C" || '$') OR checkpoints.path >= (%(prefix)s::VARCHAR COLLATE "C" || '!') AND checkpoints.path < (%(prefix)s::VARCHAR COLLATE "C" || '"'));

-- prune_progress
DELETE FROM progress WHERE progress.instance_id = %(id)s::UUID AND (progress.path = %(prefix)s::VARCHAR COLLATE "C" OR progress.path >= (%(prefix)s::VARCHAR COLLATE "C" || '.') AND progress.path < (%(prefix)s::VARCHAR COLLATE "C" || '/') OR progress.path >= (%(prefix)s::VARCHAR COLLATE "C" || '[') AND progress.path < (%(prefix)s::VARCHAR COLLATE "C" || '\') OR progress.path >= (%(prefix)s::VARCHAR COLLATE "C" || '#') AND progress.path < (%(prefix)s::VARCHAR COLLATE "C" || '$') OR progress.path >= (%(prefix)s::VARCHAR COLLATE "C" || '!') AND progress.path < (%(prefix)s::VARCHAR COLLATE "C" || '"'));

-- prune_tasks
DELETE FROM tasks WHERE tasks.instance_id = %(id)s::UUID AND (tasks.path = %(prefix)s::VARCHAR COLLATE "C" OR tasks.path >= (%(prefix)s::VARCHAR COLLATE "C" || '.') AND tasks.path < (%(prefix)s::VARCHAR COLLATE "C" || '/') OR tasks.path >= (%(prefix)s::VARCHAR COLLATE "C" || '[') AND tasks.path < (%(prefix)s::VARCHAR COLLATE "C" || '\') OR tasks.path >= (%(prefix)s::VARCHAR COLLATE "C" || '#') AND tasks.path < (%(prefix)s::VARCHAR COLLATE "C" || '$') OR tasks.path >= (%(prefix)s::VARCHAR COLLATE "C" || '!') AND tasks.path < (%(prefix)s::VARCHAR COLLATE "C" || '"'));

-- prune_vars
DELETE FROM vars WHERE vars.instance_id = %(id)s::UUID AND (vars.scope = %(prefix)s::VARCHAR COLLATE "C" OR vars.scope >= (%(prefix)s::VARCHAR COLLATE "C" || '.') AND vars.scope < (%(prefix)s::VARCHAR COLLATE "C" || '/') OR vars.scope >= (%(prefix)s::VARCHAR COLLATE "C" || '[') AND vars.scope < (%(prefix)s::VARCHAR COLLATE "C" || '\') OR vars.scope >= (%(prefix)s::VARCHAR COLLATE "C" || '#') AND vars.scope < (%(prefix)s::VARCHAR COLLATE "C" || '$') OR vars.scope >= (%(prefix)s::VARCHAR COLLATE "C" || '!') AND vars.scope < (%(prefix)s::VARCHAR COLLATE "C" || '"'));

-- queue_depth
SELECT count(*) AS count_1 
FROM (SELECT tasks.path AS path 
FROM tasks 
WHERE tasks.queue = %(queue)s::VARCHAR AND tasks.ready_at IS NOT NULL 
 LIMIT %(limit)s) AS anon_1;

-- queued_get
SELECT instances.id 
FROM instances 
WHERE instances.name = %(name)s::VARCHAR AND instances.mutex = %(mutex)s::VARCHAR AND instances.state = 'queued' ORDER BY instances.id 
 LIMIT %(limit)s;

-- queues_get
SELECT queues.name, queues.state, queues.max_size, queues.reason, queues.updated_at 
FROM queues;

-- read_tasks
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM unnest(CAST(%(ids)s::VARCHAR AS UUID[]), CAST(%(paths)s::VARCHAR AS TEXT[])) AS anon_1(id, path) JOIN tasks ON tasks.instance_id = anon_1.id AND tasks.path = anon_1.path;

-- ready_lock
WITH peek AS MATERIALIZED 
(SELECT head.instance_id AS instance_id, head.path AS path 
FROM unnest(CAST(%(queues)s::VARCHAR AS TEXT[])) AS anon_1(queue) JOIN LATERAL (SELECT tasks.instance_id AS instance_id, tasks.path AS path, tasks.priority AS priority, tasks.ready_at AS ready_at 
FROM tasks 
WHERE tasks.queue = anon_1.queue AND tasks.ready_at IS NOT NULL AND (tasks.executor IS NULL OR tasks.executor = any(CAST(%(executors)s::VARCHAR AS TEXT[]))) ORDER BY tasks.priority DESC, tasks.ready_at 
 LIMIT %(peek)s) AS head ON true ORDER BY head.priority DESC, head.ready_at 
 LIMIT %(total)s)
 SELECT instances.id, instances.definition_id, instances.name, instances.version, instances.state, instances.key, instances.gen, instances.sweeps, instances.inputs, instances.inputs_ref, instances.reason, instances.created_at, instances.started_at, instances.ended_at, instances.parent_id, instances.parent_path, instances.depth, instances.mutex, instances.labels, instances.start_at, instances.expires_at, instances.vars_rev, instances.queue, instances.priority, instances.scheduled_for 
FROM instances 
WHERE instances.id IN (SELECT peek.instance_id 
FROM peek) ORDER BY instances.id FOR NO KEY UPDATE SKIP LOCKED;

-- ready_read
WITH peek AS MATERIALIZED 
(SELECT head.instance_id AS instance_id, head.path AS path 
FROM unnest(CAST(%(queues)s::VARCHAR AS TEXT[])) AS anon_1(queue) JOIN LATERAL (SELECT tasks.instance_id AS instance_id, tasks.path AS path, tasks.priority AS priority, tasks.ready_at AS ready_at 
FROM tasks 
WHERE tasks.queue = anon_1.queue AND tasks.ready_at IS NOT NULL AND (tasks.executor IS NULL OR tasks.executor = any(CAST(%(executors)s::VARCHAR AS TEXT[]))) ORDER BY tasks.priority DESC, tasks.ready_at 
 LIMIT %(peek)s) AS head ON true ORDER BY head.priority DESC, head.ready_at 
 LIMIT %(total)s)
 SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM peek JOIN tasks ON tasks.instance_id = peek.instance_id AND tasks.path = peek.path ORDER BY tasks.priority DESC, tasks.ready_at;

-- receipt
SELECT engines.batch, engines.state 
FROM engines 
WHERE engines.id = %(me)s::UUID;

-- scope_new
INSERT INTO tasks (instance_id, path, scope, executor, gen, state, attempt, engine, queue, priority, ready_at, wake_at, remaining, open, total, next, width, done, failed, skipped, closed, output, output_ref, error, started_at, ended_at, phase, deadline_at, awaits, memo, excused, blocked_on, blocked_at, holds) SELECT anon_1.instance_id, anon_1.path, anon_1.scope, anon_1.executor, anon_1.gen, anon_1.state, anon_1.attempt, anon_1.engine, anon_1.queue, anon_1.priority, anon_1.ready_at, anon_1.wake_at, anon_1.remaining, anon_1.open, anon_1.total, anon_1.next, anon_1.width, anon_1.done, anon_1.failed, anon_1.skipped, anon_1.closed, anon_1.output, anon_1.output_ref, anon_1.error, anon_1.started_at, anon_1.ended_at, anon_1.phase, anon_1.deadline_at, anon_1.awaits, anon_1.memo, anon_1.excused, anon_1.blocked_on, anon_1.blocked_at, anon_1.holds 
FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(path)s::VARCHAR AS TEXT[]), CAST(%(scope)s::VARCHAR AS TEXT[]), CAST(%(executor)s::VARCHAR AS TEXT[]), CAST(%(gen)s::VARCHAR AS INTEGER[]), CAST(%(state)s::VARCHAR AS TEXT[]), CAST(%(attempt)s::VARCHAR AS INTEGER[]), CAST(%(engine)s::VARCHAR AS UUID[]), CAST(%(queue)s::VARCHAR AS TEXT[]), CAST(%(priority)s::VARCHAR AS INTEGER[]), CAST(%(ready_at)s::VARCHAR AS BIGINT[]), CAST(%(wake_at)s::VARCHAR AS BIGINT[]), CAST(%(remaining)s::VARCHAR AS INTEGER[]), CAST(%(open)s::VARCHAR AS INTEGER[]), CAST(%(total)s::VARCHAR AS INTEGER[]), CAST(%(next)s::VARCHAR AS INTEGER[]), CAST(%(width)s::VARCHAR AS INTEGER[]), CAST(%(done)s::VARCHAR AS INTEGER[]), CAST(%(failed)s::VARCHAR AS INTEGER[]), CAST(%(skipped)s::VARCHAR AS INTEGER[]), CAST(%(closed)s::VARCHAR AS TEXT[]), CAST(%(output)s::VARCHAR AS TEXT[]), CAST(%(output_ref)s::VARCHAR AS TEXT[]), CAST(%(error)s::VARCHAR AS TEXT[]), CAST(%(started_at)s::VARCHAR AS BIGINT[]), CAST(%(ended_at)s::VARCHAR AS BIGINT[]), CAST(%(phase)s::VARCHAR AS TEXT[]), CAST(%(deadline_at)s::VARCHAR AS BIGINT[]), CAST(%(awaits)s::VARCHAR AS TEXT[]), CAST(%(memo)s::VARCHAR AS TEXT[]), CAST(%(excused)s::VARCHAR AS INTEGER[]), CAST(%(blocked_on)s::VARCHAR AS TEXT[]), CAST(%(blocked_at)s::VARCHAR AS BIGINT[]), CAST(%(holds)s::VARCHAR AS TEXT[])) AS anon_1(instance_id, path, scope, executor, gen, state, attempt, engine, queue, priority, ready_at, wake_at, remaining, open, total, next, width, done, failed, skipped, closed, output, output_ref, error, started_at, ended_at, phase, deadline_at, awaits, memo, excused, blocked_on, blocked_at, holds);

-- scope_set
UPDATE tasks SET gen=anon_1.gen, state=anon_1.state, attempt=anon_1.attempt, failures=anon_1.failures, crashes=anon_1.crashes, engine=anon_1.engine, ready_at=anon_1.ready_at, wake_at=anon_1.wake_at, remaining=anon_1.remaining, open=anon_1.open, total=anon_1.total, next=anon_1.next, width=anon_1.width, done=anon_1.done, failed=anon_1.failed, skipped=anon_1.skipped, closed=anon_1.closed, cursor=anon_1.cursor, output=anon_1.output, output_ref=anon_1.output_ref, error=anon_1.error, started_at=anon_1.started_at, ended_at=anon_1.ended_at, phase=anon_1.phase, deadline_at=anon_1.deadline_at, awaits=anon_1.awaits, memo=anon_1.memo, excused=anon_1.excused, blocked_on=anon_1.blocked_on, blocked_at=anon_1.blocked_at, holds=anon_1.holds FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(path)s::VARCHAR AS TEXT[]), CAST(%(gen)s::VARCHAR AS INTEGER[]), CAST(%(state)s::VARCHAR AS TEXT[]), CAST(%(attempt)s::VARCHAR AS INTEGER[]), CAST(%(failures)s::VARCHAR AS INTEGER[]), CAST(%(crashes)s::VARCHAR AS INTEGER[]), CAST(%(engine)s::VARCHAR AS UUID[]), CAST(%(ready_at)s::VARCHAR AS BIGINT[]), CAST(%(wake_at)s::VARCHAR AS BIGINT[]), CAST(%(remaining)s::VARCHAR AS INTEGER[]), CAST(%(open)s::VARCHAR AS INTEGER[]), CAST(%(total)s::VARCHAR AS INTEGER[]), CAST(%(next)s::VARCHAR AS INTEGER[]), CAST(%(width)s::VARCHAR AS INTEGER[]), CAST(%(done)s::VARCHAR AS INTEGER[]), CAST(%(failed)s::VARCHAR AS INTEGER[]), CAST(%(skipped)s::VARCHAR AS INTEGER[]), CAST(%(closed)s::VARCHAR AS TEXT[]), CAST(%(cursor)s::VARCHAR AS TEXT[]), CAST(%(output)s::VARCHAR AS TEXT[]), CAST(%(output_ref)s::VARCHAR AS TEXT[]), CAST(%(error)s::VARCHAR AS TEXT[]), CAST(%(started_at)s::VARCHAR AS BIGINT[]), CAST(%(ended_at)s::VARCHAR AS BIGINT[]), CAST(%(phase)s::VARCHAR AS TEXT[]), CAST(%(deadline_at)s::VARCHAR AS BIGINT[]), CAST(%(awaits)s::VARCHAR AS TEXT[]), CAST(%(memo)s::VARCHAR AS TEXT[]), CAST(%(excused)s::VARCHAR AS INTEGER[]), CAST(%(blocked_on)s::VARCHAR AS TEXT[]), CAST(%(blocked_at)s::VARCHAR AS BIGINT[]), CAST(%(holds)s::VARCHAR AS TEXT[])) AS anon_1(instance_id, path, gen, state, attempt, failures, crashes, engine, ready_at, wake_at, remaining, open, total, next, width, done, failed, skipped, closed, cursor, output, output_ref, error, started_at, ended_at, phase, deadline_at, awaits, memo, excused, blocked_on, blocked_at, holds) WHERE tasks.instance_id = anon_1.instance_id AND tasks.path = anon_1.path;

-- setting_get
SELECT settings.value 
FROM settings 
WHERE settings.name = %(name)s::VARCHAR;

-- signal_get
SELECT signals.seq 
FROM signals 
WHERE signals.instance_id = %(id)s::UUID AND signals.id = %(signal)s::VARCHAR;

-- signal_new
INSERT INTO signals (seq, instance_id, id, name, value, value_ref, at, consumed_by) SELECT nextval('journal_seq') AS next_value_1, anon_1.instance_id, anon_1.id, anon_1.name, anon_1.value, anon_1.value_ref, anon_1.at, anon_1.consumed_by 
FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(id)s::VARCHAR AS TEXT[]), CAST(%(name)s::VARCHAR AS TEXT[]), CAST(%(value)s::VARCHAR AS TEXT[]), CAST(%(value_ref)s::VARCHAR AS TEXT[]), CAST(%(at)s::VARCHAR AS BIGINT[]), CAST(%(consumed_by)s::VARCHAR AS TEXT[])) AS anon_1(instance_id, id, name, value, value_ref, at, consumed_by) ON CONFLICT DO NOTHING;

-- signal_taken
UPDATE signals SET consumed_by=anon_1.consumed_by FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(id)s::VARCHAR AS TEXT[]), CAST(%(consumed_by)s::VARCHAR AS TEXT[])) AS anon_1(instance_id, id, consumed_by) WHERE signals.instance_id = anon_1.instance_id AND signals.id = anon_1.id;

-- signals_get
SELECT signals.instance_id, signals.id, signals.name, signals.value, signals.value_ref, signals.at, signals.consumed_by, signals.seq 
FROM signals 
WHERE signals.instance_id = %(id)s::UUID AND signals.name = %(name)s::VARCHAR AND signals.consumed_by IS NULL ORDER BY signals.seq 
 LIMIT %(limit)s;

-- task_moved
UPDATE tasks SET priority=anon_1.priority, ready_at=anon_1.ready_at FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(path)s::VARCHAR AS TEXT[]), CAST(%(priority)s::VARCHAR AS INTEGER[]), CAST(%(ready_at)s::VARCHAR AS BIGINT[])) AS anon_1(instance_id, path, priority, ready_at) WHERE tasks.instance_id = anon_1.instance_id AND tasks.path = anon_1.path;

-- unset_vars
DELETE FROM vars WHERE vars.instance_id = %(id)s::UUID AND (vars.scope = %(prefix)s::VARCHAR COLLATE "C" OR vars.scope >= (%(prefix)s::VARCHAR COLLATE "C" || '.') AND vars.scope < (%(prefix)s::VARCHAR COLLATE "C" || '/') OR vars.scope >= (%(prefix)s::VARCHAR COLLATE "C" || '[') AND vars.scope < (%(prefix)s::VARCHAR COLLATE "C" || '\') OR vars.scope >= (%(prefix)s::VARCHAR COLLATE "C" || '#') AND vars.scope < (%(prefix)s::VARCHAR COLLATE "C" || '$') OR vars.scope >= (%(prefix)s::VARCHAR COLLATE "C" || '!') AND vars.scope < (%(prefix)s::VARCHAR COLLATE "C" || '"') OR vars.writer = %(prefix)s::VARCHAR COLLATE "C" OR vars.writer >= (%(prefix)s::VARCHAR COLLATE "C" || '.') AND vars.writer < (%(prefix)s::VARCHAR COLLATE "C" || '/') OR vars.writer >= (%(prefix)s::VARCHAR COLLATE "C" || '[') AND vars.writer < (%(prefix)s::VARCHAR COLLATE "C" || '\') OR vars.writer >= (%(prefix)s::VARCHAR COLLATE "C" || '#') AND vars.writer < (%(prefix)s::VARCHAR COLLATE "C" || '$') OR vars.writer >= (%(prefix)s::VARCHAR COLLATE "C" || '!') AND vars.writer < (%(prefix)s::VARCHAR COLLATE "C" || '"'));

-- var_set
INSERT INTO vars (instance_id, scope, name, writer, rev, gen, value, value_ref) SELECT anon_1.instance_id, anon_1.scope, anon_1.name, anon_1.writer, anon_1.rev, anon_1.gen, anon_1.value, anon_1.value_ref 
FROM unnest(CAST(%(instance_id)s::VARCHAR AS UUID[]), CAST(%(scope)s::VARCHAR AS TEXT[]), CAST(%(name)s::VARCHAR AS TEXT[]), CAST(%(writer)s::VARCHAR AS TEXT[]), CAST(%(rev)s::VARCHAR AS INTEGER[]), CAST(%(gen)s::VARCHAR AS INTEGER[]), CAST(%(value)s::VARCHAR AS TEXT[]), CAST(%(value_ref)s::VARCHAR AS TEXT[])) AS anon_1(instance_id, scope, name, writer, rev, gen, value, value_ref) ON CONFLICT (instance_id, scope, name, writer) DO UPDATE SET rev = excluded.rev, gen = excluded.gen, value = excluded.value, value_ref = excluded.value_ref;
