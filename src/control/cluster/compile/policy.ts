import { invalid } from '../../../base/faults.ts';
import type {
  ClusterAttachment,
  NodeAssignment,
  OverlayNetwork,
  ServiceBackends,
} from '../../../model/cluster.ts';
import type { AdmissionIntent } from '../../../model/cluster-intent.ts';
import { attachedAddresses, both4and6 } from './names.ts';

/** Label of a service that says who may begin connections to its tasks on their networks. */
export const ALLOW_LABEL = 'sluice.allow-from';

/** Who is meant: every task of a service, of a network, or of services with a label. */
type Rule =
  | { readonly kind: 'service'; readonly name: string }
  | { readonly kind: 'network'; readonly name: string }
  | { readonly kind: 'label'; readonly name: string; readonly value: string | undefined };

/**
 * What the label says: `none`, or items such as `service:web`, `network:front`, `label:tier=edge`
 * with commas between them. Throws with the item that is none of these.
 */
export function allowRules(text: string): readonly Rule[] {
  if (text.trim() === 'none') return [];
  return text.split(',').map((item): Rule => {
    const [, kind, rest = ''] = /^(service|network|label):(.+)$/.exec(item.trim()) ?? [];
    if (kind === 'service' || kind === 'network') return { kind, name: rest };
    if (kind === 'label') {
      const [name = '', value] = rest.split(/=(.*)/s, 2);
      return { kind, name, value };
    }
    const valid = 'none, service:NAME, network:NAME or label:KEY[=VALUE], with commas between them';
    throw invalid(`invalid label ${ALLOW_LABEL}: "${item.trim()}" is none of ${valid}`);
  });
}

type Task = ServiceBackends['tasks'][number];

function allows(
  rule: Rule,
  { name, labels, networkNames }: ServiceBackends,
  { addresses }: Task,
): boolean {
  switch (rule.kind) {
    case 'service':
      return name === rule.name;
    case 'network':
      return Object.keys(addresses).some((id) => networkNames[id] === rule.name);
    case 'label': {
      const value = Object.hasOwn(labels, rule.name) ? labels[rule.name] : undefined;
      return rule.value === undefined ? value !== undefined : value === rule.value;
    }
  }
}

/** Containers that are no tasks, which only networks are named of that are also here. */
function attachedOf(
  rules: readonly Rule[],
  attachments: readonly ClusterAttachment[],
  networks: readonly OverlayNetwork[],
): readonly ClusterAttachment[] {
  const names = new Set(rules.flatMap((rule) => (rule.kind === 'network' ? rule.name : [])));
  const named = new Set(networks.flatMap(({ id, name }) => (names.has(name) ? id : [])));
  const admitted = new Set(
    attachments.flatMap(({ network, containerId }) => (named.has(network) ? containerId : [])),
  );
  return attachments.filter(({ containerId }) => admitted.has(containerId));
}

/** Tasks of this node whose service names who may reach them, by network; its own tasks always may. */
export function admissionsOf(
  { services, attachments }: NodeAssignment,
  networks: readonly OverlayNetwork[],
  nodeId: string,
): AdmissionIntent[] {
  return services.flatMap((service) => {
    const label = service.labels[ALLOW_LABEL];
    const own = service.tasks.filter((task) => task.nodeId === nodeId);
    if (label === undefined || own.length === 0) return [];
    const rules = allowRules(label);
    const sources = services.flatMap((other) =>
      other.tasks.filter(
        (task) => other === service || rules.some((rule) => allows(rule, other, task)),
      ),
    );
    const addresses = (task: Task, network: string) =>
      both4and6(task.addresses, task.addresses6, network);
    const admitted = attachedOf(rules, attachments, networks);
    return networks.flatMap(({ id: network }) => {
      const from = [
        ...sources.flatMap((task) => addresses(task, network)),
        ...admitted.filter((one) => one.network === network).flatMap(attachedAddresses),
      ];
      return own.flatMap((task) =>
        addresses(task, network).map((member) => ({ network, member, sources: from })),
      );
    });
  });
}
