// The Vercel AI SDK: what it gets from a server, as JSON. Arguments: the server's URL, a folder with media files.
import { readFileSync } from 'node:fs';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embedMany, generateText, streamText, transcribe } from 'ai';

const [url, folder] = process.argv.slice(2);
const prism = createOpenAICompatible({ name: 'prism', baseURL: `${url}/v1`, includeUsage: true });
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: 'none' });
const image = readFileSync(`${folder}/picture.jpg`);
const messages = [
  {
    role: 'user',
    content: [
      { type: 'text', text: 'Describe it.' },
      { type: 'file', data: image, mediaType: 'image/jpeg' },
    ],
  },
];
const request = { model: prism.chatModel('moondream2'), messages, maxRetries: 0 };

async function failure(call) {
  try {
    await call();
  } catch (error) {
    return { name: error.name, status: error.statusCode, message: error.message, isRetryable: error.isRetryable };
  }
}

const whole = await generateText(request);
const stream = streamText(request);
const parts = [];
for await (const part of stream.textStream) parts.push(part);

const transcript = await transcribe({
  model: openai.transcription('whisper-1'),
  audio: readFileSync(`${folder}/speech.mp3`),
  maxRetries: 0,
});
const { embeddings, usage } = await embedMany({
  model: prism.embeddingModel('all-MiniLM-L6-v2'),
  values: ['a dog', 'a cat'],
});
const viaOpenai = await generateText({ model: openai.chat('gpt-4o-mini'), messages, maxRetries: 0 });

console.log(
  JSON.stringify({
    whole: whole.text,
    finishReason: whole.finishReason,
    usage: whole.usage,
    parts,
    streamUsage: await stream.usage,
    viaOpenai: viaOpenai.text,
    transcript: {
      text: transcript.text,
      language: transcript.language,
      duration: transcript.durationInSeconds,
      segments: transcript.segments,
    },
    embeddings,
    embeddingTokens: usage.tokens,
    noPicture: await failure(() => generateText({ ...request, messages: undefined, prompt: 'Hello' })),
    system: await failure(() => generateText({ ...request, instructions: 'Be brief.', system: 'Be brief.' })),
  }),
);
