import { IntentStore } from '../../src/agent/plane/intent-store.ts';
import { LinkReconciler } from '../../src/agent/plane/links.ts';
import { createNaming } from '../../src/agent/plane/naming.ts';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { execCommand } from '../../src/kernel/exec.ts';
import type { ApplyFailure } from '../../src/link/agent-port.ts';
import { attachment, bridgeNetwork, EMPTY_INTENT, run, sandbox } from './netns.ts';
import { check } from './uml.ts';

// Runs as root of a machine of its own. Prints a line `ok NAME` or `not ok NAME …` for each check.

const naming = createNaming('vlan');
const intent = new IntentStore();
const tools = {
  ...{ exec: execCommand, native: undefined, naming, clock: systemClock, execRoot: '/run/agent' },
  logger: silentLogger,
  podmanEnv: [],
};
const links = new LinkReconciler(tools, intent, { portFor: () => undefined }, () =>
  Promise.resolve(),
);

const macvlan = (link: string, subnet: string) =>
  bridgeNetwork(link, [subnet], { driver: 'macvlan', link });
const ten = macvlan('trunk.10', '10.10.0.0/24');
const twenty = macvlan('trunk.20', '10.20.0.0/24');
const lent = macvlan('trunk.30', '10.30.0.0/24');
const lone = macvlan('dm-40', '10.40.0.0/24');
const box = (name: string, network: typeof ten, address: string) =>
  sandbox(name, [attachment(name, network, [`${address}/24`])]);
const boxes = {
  a1: box('a1', ten, '10.10.0.11'),
  a2: box('a2', ten, '10.10.0.12'),
  b1: box('b1', twenty, '10.20.0.11'),
  c1: box('c1', lent, '10.30.0.11'),
  d1: box('d1', lone, '10.40.0.11'),
  d2: box('d2', lone, '10.40.0.12'),
};

/** The trunk leads to a switch that has a leg in each VLAN. */
function makeSwitch(): void {
  const ip = (line: string) => run('ip', ...line.split(' '));
  ip('netns add switch');
  ip('link add trunk type veth peer name trunk netns switch');
  ip('link set trunk up');
  ip('-n switch link set trunk up');
  for (const vlan of [10, 20, 30]) {
    ip(`-n switch link add link trunk name leg${vlan} type vlan id ${vlan}`);
    ip(`-n switch addr add 10.${vlan}.0.1/24 dev leg${vlan}`);
    ip(`-n switch link set leg${vlan} up`);
  }
  // Somebody else's sub-interface: it is used and stays.
  ip('link add link trunk name trunk.30 type vlan id 30');
  ip('link set trunk.30 up');
}

async function reaches(from: keyof typeof boxes, address: string): Promise<boolean> {
  const inside = `--net=/run/netns/${naming.netns(boxes[from].id)}`;
  const { code } = await execCommand(['nsenter', inside, 'ping', '-c1', '-W1', address]);
  return code === 0;
}

async function reconcile(name: string): Promise<void> {
  const failures = new Map<string, ApplyFailure>();
  await links.reconcile('all', failures, () => Promise.resolve());
  check(name, failures.size === 0, JSON.stringify([...failures.values()]));
}

const shown = () => run('ip', '-o', 'link').match(/(?<=^\d+: )[^:@]+/gm) ?? [];

makeSwitch();
const networks = [ten, twenty, lent, lone];
intent.replace({ ...EMPTY_INTENT, networks, sandboxes: Object.values(boxes) });
await reconcile('links are made');
check('a neighbour of the VLAN', await reaches('a1', '10.10.0.12'));
check('the gateway of VLAN 10', await reaches('a1', '10.10.0.1'));
check('the gateway of VLAN 20', await reaches('b1', '10.20.0.1'));
check('by a sub-interface that was there', await reaches('c1', '10.30.0.1'));
check('nobody in another VLAN', !(await reaches('a1', '10.20.0.11')));
check('a neighbour without a parent', await reaches('d1', '10.40.0.12'));
check('nobody outside without a parent', !(await reaches('d1', '10.10.0.1')));
intent.replace(EMPTY_INTENT);
await reconcile('links are removed');
check(
  'what was there stays alone',
  shown().toSorted().join() === ['lo', 'trunk', 'trunk.30'].join(),
  shown().join(),
);
console.log('done');
