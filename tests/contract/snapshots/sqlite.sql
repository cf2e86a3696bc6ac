-- blob_new
INSERT INTO blobs (instance_id, "key", body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- checkpoint_set
INSERT INTO checkpoints (instance_id, path, attempt, at, value) VALUES (?, ?, ?, ?, ?) ON CONFLICT (instance_id, path) DO UPDATE SET attempt = excluded.attempt, at = excluded.at, value = excluded.value;

-- definition_get
SELECT definitions.id, definitions.name, definitions.version, definitions.hash, definitions.body, definitions.active, definitions.created_at 
FROM definitions 
WHERE definitions.id = ?;

-- due_read
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at 
FROM tasks 
WHERE tasks.wake_at IS NOT NULL AND tasks.wake_at <= ? ORDER BY tasks.wake_at
 LIMIT ? OFFSET ?;

-- fence
UPDATE engines SET batch=?, lease_until=? WHERE engines.id = ? AND engines.state = 'alive' RETURNING lease_until;

-- get_instance
SELECT instances.id, instances.definition_id, instances.name, instances.version, instances.state, instances."key", instances.gen, instances.sweeps, instances.inputs, instances.inputs_ref, instances.reason, instances.created_at, instances.started_at, instances.ended_at 
FROM instances 
WHERE instances.id = ?;

-- get_task
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at 
FROM tasks 
WHERE tasks.instance_id = ? AND tasks.path = ?;

-- instance_new
INSERT INTO instances (id, definition_id, name, version, state, "key", gen, inputs, inputs_ref, created_at, started_at, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- instance_set
UPDATE instances SET state=?, gen=?, sweeps=?, reason=?, started_at=?, ended_at=? WHERE instances.id = ?;

-- journal
INSERT INTO journal (instance_id, seq, path, gen, attempt, from_state, to_state, reason, at, engine) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- key_get
SELECT keys.instance_id 
FROM keys 
WHERE keys.name = ? AND keys."key" = ?;

-- key_new
INSERT INTO keys (name, "key", instance_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- leaf_new
INSERT INTO tasks (instance_id, path, scope, executor, gen, state, attempt, engine, queue, priority, ready_at, wake_at, remaining, started_at, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- leaf_set
UPDATE tasks SET gen=?, state=?, attempt=?, failures=?, crashes=?, engine=?, ready_at=?, wake_at=?, remaining=?, closed=?, output=?, output_ref=?, error=?, started_at=?, ended_at=? WHERE tasks.instance_id = ? AND tasks.path = ?;

-- log_new
INSERT INTO logs (instance_id, seq, path, attempt, at, level, message) VALUES (?, ?, ?, ?, ?, ?, ?);

-- next_wake
SELECT min(tasks.wake_at) AS min_1 
FROM tasks 
WHERE tasks.wake_at IS NOT NULL;

-- number
INSERT INTO sequences (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = (sequences.value + ?) RETURNING value;

-- open_under
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at 
FROM tasks 
WHERE tasks.instance_id = ? AND tasks.path > ? AND tasks.path < ? AND tasks.state NOT IN ('cancelled', 'completed', 'expired', 'failed', 'skipped') ORDER BY tasks.path
 LIMIT ? OFFSET ?;

-- progress_set
INSERT INTO progress (instance_id, path, attempt, at, fraction, message) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (instance_id, path) DO UPDATE SET attempt = excluded.attempt, at = excluded.at, fraction = excluded.fraction, message = excluded.message;

-- ready_read
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at 
FROM tasks 
WHERE tasks.queue = ? AND tasks.ready_at IS NOT NULL AND (tasks.executor IS NULL OR tasks.executor IN (SELECT value FROM json_each(?))) ORDER BY tasks.priority DESC, tasks.ready_at
 LIMIT ? OFFSET ?;

-- receipt
SELECT engines.batch, engines.state 
FROM engines 
WHERE engines.id = ?;

-- scope_new
INSERT INTO tasks (instance_id, path, scope, executor, gen, state, attempt, engine, queue, priority, ready_at, wake_at, remaining, open, total, next, width, done, failed, skipped, closed, output, output_ref, error, started_at, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- scope_set
UPDATE tasks SET gen=?, state=?, attempt=?, failures=?, crashes=?, engine=?, ready_at=?, wake_at=?, remaining=?, open=?, total=?, next=?, width=?, done=?, failed=?, skipped=?, closed=?, cursor=?, output=?, output_ref=?, error=?, started_at=?, ended_at=? WHERE tasks.instance_id = ? AND tasks.path = ?;

-- var_set
INSERT INTO vars (instance_id, scope, name, gen, value, value_ref) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (instance_id, scope, name) DO UPDATE SET gen = excluded.gen, value = excluded.value, value_ref = excluded.value_ref;
