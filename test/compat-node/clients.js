// The clients: each API through its official SDK and through the AI SDK, blocking
// and streaming. A client has
//   text(on)        one answer: {text, finished, error}
//   trip(on, tool)  a call of the client's tool, and what is said of its answer: the text
// where on is {url, retries, fetch}: retries false switches the SDK's own off,
// true leaves them as they are by default; fetch is what the SDK sends with.
import Anthropic from '@anthropic-ai/sdk';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, isStepCount, jsonSchema, streamText, tool as declare } from 'ai';
import OpenAI from 'openai';

export const gpt = 'gpt-4o-mini';
export const claude = 'claude-haiku-4-5';

const prompt = 'Hi';
const toolPrompt = 'simulate:tool What is the weather in Oslo?';
const description = 'The weather of a city now.';
const parameters = {
  type: 'object',
  properties: { city: { type: 'string' } },
  required: ['city'],
  additionalProperties: false,
};

const settings = ({ url, retries, fetch }, path) => ({ baseURL: url + path, apiKey: 'anything', fetch, ...(retries ? {} : { maxRetries: 0 }) });

// collect reads a stream; the text that came before it broke is kept.
async function collect(read) {
  const got = { text: '', finished: false, error: undefined };
  try {
    await read(got);
  } catch (error) {
    got.error = error;
  }
  return got;
}

function chat(stream) {
  const ask = (on, messages, tools) => {
    const sdk = new OpenAI(settings(on, '/v1'));
    const body = { model: gpt, messages, tools };
    if (!stream) return sdk.chat.completions.create(body);
    return sdk.chat.completions.stream(body).finalChatCompletion();
  };
  return {
    name: `openai, chat, ${stream ? 'streaming' : 'blocking'}`,
    model: gpt,
    stream,
    text: (on) =>
      collect(async (got) => {
        const messages = [{ role: 'user', content: prompt }];
        if (!stream) {
          const [choice] = (await ask(on, messages)).choices;
          got.text = choice.message.content;
          got.finished = choice.finish_reason === 'stop';
          return;
        }
        for await (const chunk of await new OpenAI(settings(on, '/v1')).chat.completions.create({ model: gpt, messages, stream: true })) {
          got.text += chunk.choices[0]?.delta.content ?? '';
          got.finished ||= chunk.choices[0]?.finish_reason === 'stop';
        }
      }),
    async trip(on, tool) {
      const tools = [{ type: 'function', function: { name: 'weather', description, parameters } }];
      const messages = [{ role: 'user', content: toolPrompt }];
      const [{ message }] = (await ask(on, messages, tools)).choices;
      const [call] = message.tool_calls;
      const content = await tool(call.function.name, JSON.parse(call.function.arguments));
      return (await ask(on, [...messages, message, { role: 'tool', tool_call_id: call.id, content }], tools)).choices[0].message.content;
    },
  };
}

function responses(stream) {
  const ask = (on, input, tools) => {
    const sdk = new OpenAI(settings(on, '/v1'));
    const body = { model: gpt, input, tools };
    return stream ? sdk.responses.stream(body).finalResponse() : sdk.responses.create(body);
  };
  return {
    name: `openai, responses, ${stream ? 'streaming' : 'blocking'}`,
    model: gpt,
    stream,
    text: (on) =>
      collect(async (got) => {
        if (!stream) {
          const whole = await ask(on, prompt);
          got.text = whole.output_text;
          got.finished = whole.status === 'completed';
          return;
        }
        for await (const event of await new OpenAI(settings(on, '/v1')).responses.create({ model: gpt, input: prompt, stream: true })) {
          if (event.type === 'response.output_text.delta') got.text += event.delta;
          if (event.type === 'response.completed') got.finished = true;
          if (event.type === 'error') throw new Error(`error event ${event.code}: ${event.message}`); // the SDK may hand it on as an event
        }
      }),
    async trip(on, tool) {
      const tools = [{ type: 'function', name: 'weather', description, parameters, strict: true }];
      const input = [{ role: 'user', content: toolPrompt }];
      const [call] = (await ask(on, input, tools)).output;
      const output = await tool(call.name, JSON.parse(call.arguments));
      const { name, call_id } = call;
      const said = { type: 'function_call', name, call_id, arguments: call.arguments };
      return (await ask(on, [...input, said, { type: 'function_call_output', call_id, output }], tools)).output_text;
    },
  };
}

function messages(stream) {
  const ask = (on, conversation, tools) => {
    const sdk = new Anthropic(settings(on, ''));
    const body = { model: claude, max_tokens: 100, messages: conversation, tools };
    return stream ? sdk.messages.stream(body).finalMessage() : sdk.messages.create(body);
  };
  return {
    name: `anthropic, messages, ${stream ? 'streaming' : 'blocking'}`,
    model: claude,
    stream,
    text: (on) =>
      collect(async (got) => {
        const conversation = [{ role: 'user', content: prompt }];
        if (!stream) {
          const whole = await ask(on, conversation);
          got.text = whole.content[0].text;
          got.finished = whole.stop_reason === 'end_turn';
          return;
        }
        const body = { model: claude, max_tokens: 100, messages: conversation, stream: true };
        for await (const event of await new Anthropic(settings(on, '')).messages.create(body)) {
          if (event.type === 'content_block_delta') got.text += event.delta.text;
          if (event.type === 'message_stop') got.finished = true;
        }
      }),
    async trip(on, tool) {
      const tools = [{ name: 'weather', description, input_schema: parameters }];
      const conversation = [{ role: 'user', content: toolPrompt }];
      const { content } = await ask(on, conversation, tools);
      const [call] = content;
      const result = { type: 'tool_result', tool_use_id: call.id, content: await tool(call.name, call.input) };
      return (await ask(on, [...conversation, { role: 'assistant', content }, { role: 'user', content: [result] }], tools)).content[0].text;
    },
  };
}

const aiModels = {
  chat: (on) => createOpenAI({ baseURL: `${on.url}/v1`, apiKey: 'anything', fetch: on.fetch }).chat(gpt),
  responses: (on) => createOpenAI({ baseURL: `${on.url}/v1`, apiKey: 'anything', fetch: on.fetch }).responses(gpt),
  messages: (on) => createAnthropic({ baseURL: `${on.url}/v1`, apiKey: 'anything', fetch: on.fetch })(claude),
};

function ai(api, stream) {
  const options = (on) => ({ model: aiModels[api](on), ...(on.retries ? {} : { maxRetries: 0 }) });
  // read keeps what streamText reports of an error, which it does not throw.
  const read = async (asked, got) => {
    for await (const part of streamText({ ...asked, onError() {} }).fullStream) {
      if (part.type === 'text-delta') got.text += part.text;
      if (part.type === 'finish') got.finished = part.finishReason === 'stop';
      if (part.type === 'error') throw part.error;
    }
  };
  return {
    name: `ai, ${api}, ${stream ? 'streaming' : 'blocking'}`,
    model: api === 'messages' ? claude : gpt,
    stream,
    text: (on) =>
      collect(async (got) => {
        const asked = { ...options(on), prompt };
        if (stream) return read(asked, got);
        const whole = await generateText(asked);
        got.text = whole.text;
        got.finished = whole.finishReason === 'stop';
      }),
    async trip(on, tool) {
      const weather = declare({ description, inputSchema: jsonSchema(parameters), execute: async (input) => tool('weather', input) });
      const asked = { ...options(on), prompt: toolPrompt, tools: { weather }, stopWhen: isStepCount(2) };
      if (!stream) return (await generateText(asked)).text;
      const got = { text: '' };
      await read(asked, got);
      return got.text;
    },
  };
}

export const clients = [false, true].flatMap((stream) => [
  chat(stream),
  responses(stream),
  messages(stream),
  ai('chat', stream),
  ai('responses', stream),
  ai('messages', stream),
]);
