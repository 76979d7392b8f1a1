import { SluiceError } from '../base/errors.ts';
import type { PluginAnswer } from './plugin-client.ts';

/** A text field; undefined when it is absent or empty. Throws when it is something else. */
export function textOf(answer: PluginAnswer, key: string): string | undefined {
  const value = answer[key];
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value === 'string') return value;
  throw new SluiceError('E_PLUGIN_ANSWER', `the plugin's answer: ${key} is not a text`);
}

/** A field that holds an object; empty when it is absent. */
export function objectOf(answer: PluginAnswer, key: string): PluginAnswer {
  const value = answer[key];
  if (value === undefined || value === null) return {};
  if (typeof value === 'object' && !Array.isArray(value)) {
    return Object.fromEntries(Object.entries(value));
  }
  throw new SluiceError('E_PLUGIN_ANSWER', `the plugin's answer: ${key} is not an object`);
}

/** A field that holds a list of objects; empty when it is absent. */
export function listOf(answer: PluginAnswer, key: string, maximum: number): PluginAnswer[] {
  const value = answer[key];
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) {
    throw new SluiceError('E_PLUGIN_ANSWER', `the plugin's answer: ${key} is not a list`);
  }
  if (value.length > maximum) {
    throw new SluiceError('E_PLUGIN_ANSWER', `the plugin's answer: more than ${maximum} ${key}`);
  }
  return value.map((one) => Object.fromEntries(Object.entries(Object(one))));
}
