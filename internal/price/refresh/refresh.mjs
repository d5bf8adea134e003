// Makes ../prices.json from the price data that the npm package @pydantic/genai-prices
// carries and from extra.json beside this script.
//
//   npm pack @pydantic/genai-prices && tar -xzf pydantic-genai-prices-*.tgz
//   npm view @pydantic/genai-prices time        (the day the version was published)
//   node internal/price/refresh/refresh.mjs package 2026-09-23
//
// Models whose prices the gateway's figures cannot express (per request, per second, per
// image, reasoning apart from output) are left out: they are unknown to it, not guessed.
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [dir, date] = process.argv.slice(2)
if (!dir || !/^\d{4}-\d\d-\d\d$/.test(date ?? '')) {
  console.error('usage: node refresh.mjs FOLDER-OF-THE-PACKAGE YYYY-MM-DD')
  process.exit(2)
}
const here = import.meta.dirname
const pkg = JSON.parse(fs.readFileSync(path.join(dir, 'package.json'), 'utf8'))
const license = fs.readFileSync(path.join(dir, 'LICENSE'), 'utf8').trim()
const { findProvider, calcPrice } = await import(pathToFileURL(path.resolve(dir, 'dist/index.js')))
const extra = JSON.parse(fs.readFileSync(path.join(here, 'extra.json'), 'utf8'))

const fields = {
  input_mtok: 'input', output_mtok: 'output', cache_read_mtok: 'cache_read',
  cache_write_mtok: 'cache_write', cache_write_1h_mtok: 'cache_write_long', web_searches_kcount: 'search',
}
// What may be there and is not read: it does not change what a text token costs.
const beside = new Set(['storage_searches_kcount', 'input_audio_mtok', 'cache_audio_read_mtok', 'input_image_mtok', 'input_video_mtok', 'cache_image_read_mtok'])
const notText = /audio|realtime|-live|tts|transcribe|whisper|voice|voxtral|image|embed|ocr|moderation|rerank|^ft:|\.ft-|deep-research/

// decimal writes a number the way people do; what is finer than a picodollar a token is
// dropped, and undefined says so.
function decimal(n) {
  const s = String(n)
  return !/e/i.test(s) && (s.split('.')[1] ?? '').length <= 6 ? s : undefined
}

// one turns a set of prices into ours, or throws a reason to leave the model out.
function one(prices, free) {
  const out = {}, long = {}
  let above
  for (const [key, value] of Object.entries(prices)) {
    const name = fields[key]
    if (!name) {
      if (beside.has(key)) continue
      throw new Error(key)
    }
    const tiers = value?.tiers ?? []
    if (tiers.length > 1) throw new Error('several limits')
    const base = decimal(value?.base ?? value)
    if (base === undefined) {
      if (name === 'cache_write') continue // storage by the hour, not a price of a token
      throw new Error(`${key} ${value}`)
    }
    out[name] = base
    if (tiers.length) {
      if (above !== undefined && above !== tiers[0].start) throw new Error('several limits')
      above = tiers[0].start
      long[name] = decimal(tiers[0].price)
    }
  }
  if (free && !Object.keys(out).length) return { input: '0', output: '0' }
  if (!out.input || !out.output) throw new Error('no price of input and output')
  return above === undefined ? out : { ...out, above, long }
}

// anHour adds what Anthropic charges everywhere for an hour's cache: twice the input.
function anHour(id, p) {
  if (!id.includes('claude') || !p.cache_write || p.cache_write_long) return p
  const twice = (q) => decimal(Number((2 * Number(q.input)).toFixed(6)))
  const out = { ...p, cache_write_long: twice(p) }
  if (p.long) out.long = { ...p.long, cache_write_long: twice(p.long) }
  return out
}

function convert(id, prices) {
  if (!Array.isArray(prices)) return anHour(id, one(prices, id.endsWith(':free')))
  const [first, ...rest] = prices.map(({ constraint: c, prices: p }) => {
    const q = anHour(id, one(p))
    if (!c) return q
    if (c.type === 'start_date') return { from: c.start_date, ...q }
    return { hours: `${c.start_time.slice(0, 5)}-${c.end_time.slice(0, 5)}`, ...q }
  })
  // Prices that had ended before the source was made are history.
  const kept = rest.findLastIndex((p) => p.from && p.from <= date)
  if (kept < 0) return { ...first, then: rest }
  const { from, ...now } = rest[kept]
  const then = rest.slice(kept + 1)
  return then.length ? { ...now, then } : now
}

function words(match, out = []) {
  for (const m of match.or ?? [match]) {
    if (m.or) words(m, out)
    for (const w of [m.equals, m.starts_with, m.ends_with, m.contains]) if (w) out.push(w)
  }
  return out
}

// clean is the name a model is listed by: Bedrock's region and version are the reader's business.
function clean(vendor, name) {
  let s = name.toLowerCase()
  if (vendor === 'aws') s = s.replace(/^(regional|us|eu|au|jp|in|apac)\./, '').replace(/(-v\d+(:\d+)?|:\d+)$/, '')
  return s
}

function vendorOf(id) {
  const models = [], taken = new Set()
  for (const m of findProvider({ providerId: id })?.models ?? []) {
    if (extra.drop[id]?.includes(m.id) || notText.test(m.id) || (id === 'openai' && m.id.startsWith('gpt-oss'))) continue
    if (id !== 'openrouter' && /(imported from|seen on|trusting) open ?router|can't find/i.test(m.price_comments ?? '')) continue
    let prices
    try {
      prices = convert(m.id, m.prices)
    } catch (e) {
      console.error(`left out: ${id} ${m.id}: ${e.message}`)
      continue
    }
    // A word is a name only if the source itself takes it for this model.
    const mine = (w) => {
      try {
        return calcPrice({ input_tokens: 1 }, w, { providerId: id })?.model.id === m.id
      } catch { return false }
    }
    const names = [...new Set([m.id, ...words(m.match)].map((w) => clean(id, w)))]
      .filter((w) => /[a-z0-9]$/.test(w) && !/-20\d?\d?$/.test(w) && !taken.has(w) && (mine(w) || w === clean(id, m.id)))
    if (!names.length) continue
    names.forEach((n) => taken.add(n))
    models.push({ id: names[0], ...(names.length > 1 ? { names: names.slice(1).sort() } : {}), ...prices })
  }
  for (const [name, more] of Object.entries(extra.models[id] ?? {})) {
    const there = models.find((m) => m.id === name)
    if (there) Object.assign(there, more)
    else if (more.input) models.push({ id: name, ...more })
    else throw new Error(`extra.json: ${id} has no ${name}`)
  }
  return models.sort((a, b) => (a.id < b.id ? -1 : 1))
}

const line = (v) => JSON.stringify(v)
const vendors = Object.entries(extra.vendors).map(([id, v]) => {
  const models = vendorOf(id)
  console.error(`${id}: ${models.length} models`)
  return `  {"id": ${line(id)}, ${Object.entries(v).map(([k, x]) => `${line(k)}: ${line(x)}, `).join('')}"models": [\n    ${models.map(line).join(',\n    ')}\n  ]}`
})
const sources = [`${pkg.name} ${pkg.version} of ${date}, MIT: https://github.com/pydantic/genai-prices`, ...extra.sources]
fs.writeFileSync(path.join(here, '..', 'prices.json'), `{
"date": ${line(extra.date > date ? extra.date : date)},
"sources": [
  ${sources.map(line).join(',\n  ')}
],
"license": ${line(license)},
"vendors": [
${vendors.join(',\n')}
]
}
`)
