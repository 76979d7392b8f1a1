import { type Cluster, type ClusterFile, KIND } from '../../model/cluster.ts';
import { seal, unseal } from './identity/sealing.ts';
import { parseUnlockKey } from './identity/tokens.ts';

/** What a manager seals and opens with the key that all managers share. */
export class ManagerKeys {
  readonly #dataKey: Buffer;

  constructor(dataKey: Buffer) {
    this.#dataKey = dataKey;
  }

  get dataKey(): Buffer {
    return this.#dataKey;
  }

  /** A root's key, as `unseal` of the same purpose gives it back. */
  sealRootKey(key: string): string {
    return seal(this.#dataKey, 'root key', key);
  }

  rootKey(sealed: string): string {
    return unseal(this.#dataKey, 'root key', sealed).toString();
  }

  /** What a secret's object keeps of its data, given in base 64. */
  sealFile({ id, data }: Pick<ClusterFile, 'id' | 'data'>): string {
    return seal(this.#dataKey, `${KIND.file} ${id}`, Buffer.from(data, 'base64'));
  }

  /** A secret or configuration with its data as it was given. */
  openFile(file: ClusterFile): ClusterFile {
    if (file.kind !== 'secret') return file;
    const data = unseal(this.#dataKey, `${KIND.file} ${file.id}`, file.data);
    return { ...file, data: data.toString('base64') };
  }

  sealOverlayKey(key: string): string {
    return seal(this.#dataKey, 'overlay key', key);
  }

  overlayKey(sealed: string): string {
    return unseal(this.#dataKey, 'overlay key', sealed).toString();
  }

  /** `user:password` at a registry. */
  sealLogin(login: string): string {
    return seal(this.#dataKey, 'registry login', login);
  }

  login(sealed: string): string {
    return unseal(this.#dataKey, 'registry login', sealed).toString();
  }

  sealUnlockKey(key: string): string {
    return seal(this.#dataKey, 'unlock key', key);
  }

  /** The unlock key of a cluster as text; undefined: its managers ask for none. */
  unlockKey({ spec, sealedUnlockKey }: Cluster): string | undefined {
    if (!spec.autolock || sealedUnlockKey === '') return undefined;
    const text = unseal(this.#dataKey, 'unlock key', sealedUnlockKey).toString();
    parseUnlockKey(text);
    return text;
  }
}
