// The reference worker in JavaScript: it takes tasks of the method WEBSOCKET from an ant's bridge, or of the method
// MESSAGING from a NATS subject, and hands each to a function. PROTOCOL.md, two directories up, is what it speaks.
//
//   await run({ id: 'w-1', url: 'ws://127.0.0.1:7777/ws/ants', tags: ['render'], handler: async (task) => ({ result: 'done' }) })

const VERSION = 1
const REMEMBERED = 1000 // ended attempts, to answer a task that comes twice
const HELD_FOR = 8000 // a task that finds no free slot; it is sent to others after 10 s
const HELD = 64
const MAX_MESSAGE = 1 << 20
const SUPERSEDED = 4001
const REFUSED = 4003
const MAX_PAUSE = 5000

/** An error that tells more than its text. */
export class Failure extends Error {
  constructor(message, { exitCode = 1, code = '' } = {}) {
    super(message)
    this.exitCode = exitCode
    this.code = code
  }
}

/**
 * Works until options.signal is aborted; then handlers are cancelled and waited for. Rejects when the worker is refused
 * and when another one takes its id.
 *
 * options: id, url (ws, wss, nats, tls), handler(task, signal), queue and group (NATS), tags (bridge), slots = 1,
 * token (bridge), patience = 30 (seconds that the bridge may say nothing), signal (AbortSignal), log(text).
 */
export async function run(options) {
  const conf = { slots: 1, group: 'workers', tags: [], patience: 30, log: () => {}, signal: new AbortController().signal, ...options }
  if (!conf.id || typeof conf.handler !== 'function') throw new Error('a worker needs an id and a handler')
  const scheme = new URL(conf.url).protocol
  const book = new Book(conf)
  if (scheme === 'ws:' || scheme === 'wss:') return overSocket(conf, book)
  if (scheme === 'nats:' || scheme === 'tls:') return overNATS(conf, book)
  throw new Error(`url of the worker: scheme ${scheme} is none of ws, wss, nats, tls`)
}

/** What the worker knows of attempts. It speaks through the function that came with the last message about each. */
class Book {
  constructor(conf) {
    this.conf = conf
    this.jobs = new Map() // uid → {say, abort, reply, done}
    this.waits = new Map() // uid → {message, say, at}
    this.running = 0
    this.stopped = false
    this.onFree = () => {}
  }

  room() {
    return this.running < this.conf.slots
  }

  message(type, uid, more = {}) {
    return { v: VERSION, type, uid, worker: this.conf.id, ...more }
  }

  /** Takes a task, or answers for the second time. */
  task(message, say) {
    const { uid, task } = message
    const known = this.jobs.get(uid)
    if (known) {
      known.say = say
      say(this.message('accept', uid))
      if (known.reply) say(known.reply)
      return
    }
    if (!uid || !task || this.stopped) return // it is sent again, to somebody else perhaps
    if (this.room()) this.start(message, say)
    else if (this.waits.size < HELD) this.waits.set(uid, { message, say, at: Date.now() })
  }

  start(message, say) {
    const { uid } = message
    const job = { say, abort: new AbortController() }
    this.jobs.set(uid, job)
    this.running++
    say(this.message('accept', uid))
    job.done = this.work(message, job)
  }

  /** Begins a task that was held. */
  next() {
    for (const [uid, { message, say, at }] of this.waits) {
      if (this.stopped || !this.room()) return
      this.waits.delete(uid)
      if (Date.now() - at < HELD_FOR) this.start(message, say)
    }
  }

  async work(message, job) {
    const { uid, task } = message
    const beat = setInterval(() => job.say(this.message('heartbeat', uid)), (task.heartbeat_seconds || 10) * 1000)
    try {
      const log = (text) => job.say(this.message('log', uid, { lines: String(text).replace(/\n+$/, '').split('\n') }))
      const done = (await this.conf.handler({ ...task, uid, log }, job.abort.signal)) ?? {}
      job.reply = bounded(this.message('reply', uid, { status: 'COMPLETED', exit_code: exitCode(done.exitCode, 0), outputs: asObject(done.outputs), result: done.result }))
    } catch (error) {
      const failed = { status: 'FAILED', exit_code: exitCode(error?.exitCode, 1), error_code: asText(error?.code), message: asText(error?.message) ?? String(error) }
      job.reply = bounded(this.message('reply', uid, this.stopped ? { status: 'LOST', message: 'the worker was stopped' } : failed))
    }
    clearInterval(beat)
    job.say(job.reply)
    this.running--
    this.forget()
    this.next()
    this.onFree()
  }

  /** Drops the oldest of the ended attempts. A Map keeps the order in which they came. */
  forget() {
    if (this.jobs.size - this.running <= REMEMBERED) return
    for (const [uid, job] of this.jobs) {
      if (job.reply) {
        this.jobs.delete(uid)
        return
      }
    }
  }

  /** Ends an attempt; a cancel that names another worker is for that one. */
  cancel(message) {
    if (message.worker && message.worker !== this.conf.id) return
    this.waits.delete(message.uid)
    this.jobs.get(message.uid)?.abort.abort()
  }

  /** Goes on over a new connection: with those that are waited for; the others are given up. */
  resume(message, say) {
    for (const uid of message.resumed ?? []) {
      const job = this.jobs.get(uid)
      if (!job) continue
      job.say = say
      if (job.reply) say(job.reply)
    }
    for (const uid of message.gone ?? []) this.jobs.get(uid)?.abort.abort()
  }

  /** Cancels the handlers and waits for them. */
  async end() {
    this.stopped = true
    const open = [...this.jobs.values()].filter((job) => !job.reply)
    for (const job of open) job.abort.abort()
    await Promise.all(open.map((job) => job.done))
  }
}

/** Handlers throw errors of any library: what these hold under the same names may be of another type. */
function exitCode(value, otherwise) {
  return Number.isSafeInteger(value) ? value : otherwise
}

function asText(value) {
  return typeof value === 'string' && value ? value : undefined
}

function asObject(value) {
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'object' || Array.isArray(value)) throw new Error('the outputs of a handler must be an object')
  return value
}

/** A reply that cannot be sent is told as a failure; one that is no JSON is an error. */
function bounded(reply) {
  if (size(JSON.stringify(reply)) <= MAX_MESSAGE) return reply
  return { v: VERSION, type: 'reply', uid: reply.uid, worker: reply.worker, status: 'FAILED', exit_code: 1, error_code: 'ERR_REPLY_TOO_LARGE', message: 'the reply is larger than 1 MiB' }
}

function size(text) {
  return new TextEncoder().encode(text).length
}

function encode(message) {
  const text = JSON.stringify(message)
  return size(text) <= MAX_MESSAGE ? text : '' // lines of a log, which nothing depends on
}

function decode(text) {
  const message = JSON.parse(text)
  if (message.v !== VERSION) throw new Error(`message of version ${message.v}`)
  return message
}

/** The WebSocket of the platform (browsers, Node 22), else that of the package ws. */
async function socketClass() {
  return globalThis.WebSocket ?? (await import('ws')).WebSocket
}

/** Connects and connects again. */
async function overSocket(conf, book) {
  const WebSocket = await socketClass()
  for (let pause = 100; !conf.signal.aborted; pause = Math.min(2 * pause, MAX_PAUSE)) {
    const began = Date.now()
    const { code, reason, refusal } = await connect(WebSocket, conf, book)
    if (conf.signal.aborted) break
    if (code === SUPERSEDED || code === REFUSED) {
      await book.end()
      throw new Error(`worker ${conf.id} is sent away: ${refusal || reason}`)
    }
    conf.log(`connection to the bridge lost: ${code} ${reason}`)
    if (Date.now() - began > MAX_PAUSE) pause = 100
    await sleep(pause, conf.signal)
  }
  await book.end()
}

/** Serves one connection until it ends. */
function connect(WebSocket, conf, book) {
  return new Promise((resolve) => {
    const ws = new WebSocket(conf.url)
    let refusal = ''
    let heard = Date.now()
    const say = (message) => {
      const text = encode(message)
      if (text && ws.readyState === 1) ws.send(text)
    }
    // A host that is gone ends no connection, and not every platform shows pings: this is answered with a cancel.
    const watch = setInterval(() => {
      if (Date.now() - heard < conf.patience * 1000) return say(book.message('heartbeat'))
      ended({ code: 1006, reason: 'the bridge says nothing' })
      ws.onopen = ws.onmessage = null
      if (ws.terminate) ws.terminate() // of the package ws: the other end will not answer
      else ws.close()
    }, conf.patience * 1000 / 3)
    const ended = ({ code, reason }) => {
      clearInterval(watch)
      conf.signal.removeEventListener('abort', goodbye)
      resolve({ code, reason, refusal })
    }
    const goodbye = async () => {
      await book.end()
      ws.close(1000)
    }
    conf.signal.addEventListener('abort', goodbye, { once: true })
    ws.onopen = () => {
      say({ v: VERSION, type: 'register', worker_id: conf.id, methods: ['WEBSOCKET'], tags: conf.tags, slots: conf.slots, token: conf.token, resume: [...book.jobs.keys()] })
    }
    ws.onmessage = ({ data }) => {
      heard = Date.now()
      try {
        const message = decode(data)
        if (message.type === 'registered') book.resume(message, say)
        else if (message.type === 'task') book.task(message, say)
        else if (message.type === 'cancel') book.cancel(message)
        else if (message.type === 'error') refusal = message.message
      } catch (error) {
        conf.log(`message not understood: ${error.message}`)
        ws.close(4000, 'message not understood')
      }
    }
    ws.onerror = () => {} // a close follows
    ws.onclose = ended
  })
}

/** Connects to NATS, and tells of every try that fails; null when the worker is to end before one succeeds. */
async function reach(connect, conf) {
  for (let pause = 100; !conf.signal.aborted; pause = Math.min(2 * pause, MAX_PAUSE)) {
    try {
      return await connect({ servers: conf.url, name: conf.id, maxReconnectAttempts: -1, timeout: MAX_PAUSE })
    } catch (error) {
      conf.log(`no connection to NATS at ${new URL(conf.url).host}: ${error.message}`)
    }
    await sleep(pause, conf.signal)
  }
  return null
}

/** Listens while there is a free slot: meanwhile NATS gives tasks to others. */
async function overNATS(conf, book) {
  const { connect } = await import('@nats-io/transport-node')
  const nc = await reach(connect, conf)
  if (!nc) return book.end()
  nc.subscribe(`${conf.queue}.cancel`, {
    callback: (error, msg) => {
      if (error) return
      try {
        const message = decode(msg.string())
        if (message.type === 'cancel') book.cancel(message)
      } catch {
        // no message of this protocol
      }
    },
  })
  let sub = null
  const take = (error, msg) => {
    if (error) return
    try {
      const message = decode(msg.string())
      if (message.type !== 'task' || !message.reply_to) return
      book.task(message, (answer) => {
        const text = encode(answer)
        try {
          if (text && !nc.isClosed()) nc.publish(message.reply_to, text)
        } catch (error) {
          conf.log(`${answer.type} of ${answer.uid} not sent: ${error.message}`) // larger than this bus takes
        }
      })
    } catch (error) {
      conf.log(`message not understood: ${error.message}`)
    }
    listen()
  }
  const listen = () => {
    if (sub && !book.room()) {
      sub.unsubscribe()
      sub = null
    } else if (!sub && book.room() && !conf.signal.aborted) {
      sub = nc.subscribe(conf.queue, { queue: conf.group, callback: take })
    }
  }
  book.onFree = listen
  listen()
  const failed = await aborted(conf.signal, nc.closed())
  sub?.unsubscribe()
  await book.end()
  if (failed) throw failed
  await nc.drain()
}

/** Resolves with nothing when the signal is aborted, or with other. */
function aborted(signal, other) {
  return Promise.race([other, new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })])
}

function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener('abort', () => { clearTimeout(timer); resolve() }, { once: true })
  })
}
