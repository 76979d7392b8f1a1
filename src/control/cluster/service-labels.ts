import { invalid } from '../../base/faults.ts';
import {
  BALANCE_LABEL,
  BALANCES,
  POLICIES,
  POLICY_LABEL,
  RETURN_LABEL,
  RETURNS,
} from './compile/mesh.ts';
import { ALLOW_LABEL, allowRules } from './compile/policy.ts';

const PREFIX = 'sluice.';

function oneOf(label: string, valid: readonly string[]): (text: string) => void {
  return (text) => {
    if (valid.includes(text)) return;
    throw invalid(`invalid label ${label}: "${text}" is none of ${valid.join(', ')}`);
  };
}

/** What the labels that the cluster itself reads may say; each throws for anything else. */
const CHECKS: Readonly<Record<string, (text: string) => void>> = {
  [ALLOW_LABEL]: allowRules,
  [BALANCE_LABEL]: oneOf(BALANCE_LABEL, BALANCES),
  [POLICY_LABEL]: oneOf(POLICY_LABEL, POLICIES),
  [RETURN_LABEL]: oneOf(RETURN_LABEL, RETURNS),
};

/** Throws for a label of a service that begins with our name and is none that means anything. */
export function checkLabels(labels: Readonly<Record<string, string>>): void {
  for (const [label, text] of Object.entries(labels)) {
    if (!label.startsWith(PREFIX)) continue;
    const check = Object.hasOwn(CHECKS, label) ? CHECKS[label] : undefined;
    if (!check) {
      const known = Object.keys(CHECKS).join(', ');
      throw invalid(`unknown label ${label}: those that begin with "${PREFIX}" are ${known}`);
    }
    check(text);
  }
}
