// OpenAI's client for Node: what it gets from a server, as JSON. Arguments: the server's URL, a folder with media files.
import { createReadStream, readFileSync } from 'node:fs';
import OpenAI from 'openai';

const [url, folder] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', timeout: 60_000 });
const image = { url: `data:image/jpeg;base64,${readFileSync(`${folder}/picture.jpg`, 'base64')}` };
const messages = [
  { role: 'user', content: [{ type: 'text', text: 'Describe it.' }, { type: 'image_url', image_url: image }] },
];
const recording = () => createReadStream(`${folder}/speech.mp3`);

async function failure(call) {
  try {
    await call();
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code, message: error.message };
  }
}

const models = [];
for await (const model of client.models.list()) models.push(model.id);

const whole = await client.chat.completions.create({ model: 'moondream2', messages });
const chunks = [];
for await (const chunk of await client.chat.completions.create({ model: 'moondream2', messages, stream: true })) {
  chunks.push(chunk.choices[0].delta.content ?? '');
}

const transcript = await client.audio.transcriptions.create({ model: 'whisper-1', file: recording() });
const verbose = await client.audio.transcriptions.create({
  model: 'whisper-1',
  file: recording(),
  response_format: 'verbose_json',
  timestamp_granularities: ['word', 'segment'],
});
const srt = await client.audio.transcriptions.create({ model: 'whisper-1', file: recording(), response_format: 'srt' });
const events = [];
for await (const event of await client.audio.transcriptions.create({
  model: 'whisper-1',
  file: recording(),
  stream: true,
})) {
  events.push(event);
}
const translation = await client.audio.translations.create({ model: 'whisper-1', file: recording() });
const embeddings = await client.embeddings.create({ model: 'all-MiniLM-L6-v2', input: ['a dog', 'a cat'] });

console.log(
  JSON.stringify({
    models,
    whole: whole.choices[0].message.content,
    usage: whole.usage,
    chunks,
    transcript: transcript.text,
    verbose,
    srt,
    events,
    translation: translation.text,
    embeddings: embeddings.data.map((item) => item.embedding),
    tools: await failure(() =>
      client.chat.completions.create({
        model: 'moondream2',
        messages,
        tools: [{ type: 'function', function: { name: 'f', parameters: {} } }],
      }),
    ),
    model: await failure(() => client.embeddings.create({ model: 'gpt-5', input: 'a' })),
  }),
);
