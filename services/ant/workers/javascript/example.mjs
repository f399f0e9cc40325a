// An example: greets whom the task names. node example.mjs URL [QUEUE]; the environment may give WORKER_ID, WORKER_TAGS,
// WORKER_SLOTS, WORKER_TOKEN and WORKER_PATIENCE. Ends on SIGTERM and Ctrl-C.
import { Failure, run } from './worker.mjs'

const [url = 'ws://127.0.0.1:7777/ws/ants', queue] = process.argv.slice(2)
const env = process.env
const end = new AbortController()
for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => end.abort())

async function greet(task, signal) {
  const { whom = 'world', fail, seconds = 0 } = task.variables ?? {}
  task.log(`greeting ${whom}`)
  await new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000)
    signal.addEventListener('abort', () => { clearTimeout(timer); reject(new Error('cancelled')) }, { once: true })
  })
  if (fail) throw new Failure(String(fail), { exitCode: 3, code: 'ERR_GREETING' })
  return { outputs: { greeting: `hello ${whom}`, length: whom.length }, result: { key: task.idempotency_key } }
}

try {
  await run({
    id: env.WORKER_ID ?? 'js-1', url, queue, handler: greet, signal: end.signal, log: console.error,
    tags: env.WORKER_TAGS ? env.WORKER_TAGS.split(',') : [], slots: Number(env.WORKER_SLOTS ?? 1), token: env.WORKER_TOKEN, patience: Number(env.WORKER_PATIENCE ?? 30),
  })
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
