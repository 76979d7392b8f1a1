// Starts a worker that belongs to nobody, leaves its compiled code to those that come, and ends.
import { flushCompileCache } from 'node:module';
import './worker.ts';

flushCompileCache();
process.exit();
