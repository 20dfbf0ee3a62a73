// The AWS SDK for JavaScript v3 as a client of the broker: lists the buckets, gets or puts an object, or asks STS who it is,
// with one client at every line on standard input.
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const LONGEST_LINE = 2000;
// The packages are beside nothing of ours: install.sh puts them into a cache, whose folder is the first argument.
const load = createRequire(join(process.argv[2], "packages.js"));

if (process.argv[3] === "--version") {
  const version = (name) => `${name} ${load(`${name}/package.json`).version}`;
  const packages = ["@aws-sdk/client-s3", "@aws-sdk/client-sts", "@aws-sdk/credential-provider-node"].map(version);
  console.log(`${packages.join(", ")}, node ${process.versions.node}`);
  process.exit();
}

const { GetObjectCommand, ListBucketsCommand, PutObjectCommand, S3Client } = load("@aws-sdk/client-s3");
const { GetCallerIdentityCommand, STSClient } = load("@aws-sdk/client-sts");
const calls = { list, get, put, sts: whoami };
const Bucket = process.env.MATRIX_BUCKET;
let s3, sts;

for await (const line of createInterface({ input: process.stdin })) {
  try {
    s3 ??= new S3Client({ forcePathStyle: true });
    say(await (calls[line] ?? list)());
  } catch (error) {
    say(`error: ${explain(error)}`);
  }
}

async function list() {
  const { Buckets = [] } = await s3.send(new ListBucketsCommand({}));
  return ["listed:", ...Buckets.map((bucket) => bucket.Name)].join(" ");
}

async function get() {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key: "was-here" }));
  return `got: ${await Body.transformToString()}`;
}

async function put() {
  const { ETag } = await s3.send(new PutObjectCommand({ Bucket, Key: "put", Body: "put\n" }));
  return `put: ${ETag}`;
}

async function whoami() {
  sts ??= new STSClient();
  const { Arn } = await sts.send(new GetCallerIdentityCommand({}));
  return `called: ${Arn}`;
}

/** The error with its causes, and the errors of the providers where it holds several. */
function explain(error) {
  const parts = [String(error)];
  if (error instanceof AggregateError) parts.push(...error.errors.map(explain));
  if (error?.cause !== undefined) parts.push(`cause: ${explain(error.cause)}`);
  return parts.join(" ");
}

function say(line) {
  process.stdout.write(`${line.replaceAll("\n", " ").slice(0, LONGEST_LINE)}\n`);
}
