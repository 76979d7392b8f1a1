import type { X509Certificate } from 'node:crypto';
import { SluiceError } from '../../base/errors.ts';
import { invalid } from '../../base/faults.ts';
import { joinCluster } from '../../link/cluster-client.ts';
import type { JoinGrant } from '../../link/cluster-protocol.ts';
import type { NodeAvailability } from '../../model/cluster.ts';
import { controlAddress } from './addresses.ts';
import { createRequest, identityOf, issuerOf } from './identity/authority.ts';
import { type JoinToken, tokenDigest } from './identity/tokens.ts';

/** How a host asks to become a node of a cluster. */
export type JoinOrder = {
  readonly remoteAddrs: readonly string[];
  readonly token: string;
  readonly availability: NodeAvailability;
};

/** What managers are told of the host that asks; `shared`: several can have its store open. */
type Applicant = { readonly hostname: string; readonly shared: boolean };

/** Addresses that are tried to join. */
const MAX_REMOTES = 16;

/**
 * Asks the managers of a cluster, one after another until one answers, for a place in it: what they
 * grant, and the key of the certificate in it. Throws in the words that users know.
 */
export async function askToJoin(
  { remoteAddrs, token, availability }: JoinOrder,
  { rootDigest }: JoinToken,
  applicant: Applicant,
): Promise<JoinGrant & { readonly key: string }> {
  const { key, request } = await createRequest();
  let last: unknown;
  for (const address of remoteAddrs.slice(0, MAX_REMOTES)) {
    try {
      const grant = await joinCluster(
        controlAddress(address),
        { ...applicant, token, request, availability },
        (chain) => checkManager(chain, rootDigest),
      );
      return { ...grant, key };
    } catch (error) {
      last = error;
      if (!(error instanceof SluiceError) || error.code !== 'E_CLUSTER_UNREACHABLE') break;
    }
  }
  throw last;
}

/** Throws when the peer is not what the token with this digest stands for. */
function checkManager(chain: readonly X509Certificate[], rootDigest: string): void {
  const root = chain.find(({ raw }) => tokenDigest(raw) === rootDigest);
  const [leaf] = chain;
  const identity = leaf && identityOf(leaf);
  const issued = leaf && root && issuerOf(leaf, [root.toString()]);
  const crossed = chain.some(
    (one) => root && one.ca && leaf?.checkIssued(one) && one.verify(root.publicKey),
  );
  if (!root || !(issued || crossed)) {
    throw invalid(
      'remote CA does not match fingerprint: the manager is of another cluster than the join token',
    );
  }
  if (identity?.role !== 'manager') throw invalid('the remote address is no manager');
}
