import { NftTool } from '../kernel/nft.ts';
import type {
  AgentEvents,
  AgentPort,
  ApplyReport,
  Capability,
  LogEntry,
  LogQuery,
  TaskStats,
  TaskStreams,
} from '../link/agent-port.ts';
import type { ClusterIntent } from '../model/cluster-intent.ts';
import type { HostDelta, HostIntent } from '../model/host-intent.ts';
import type { CarryFailure, KernelListener, ListenerTraffic } from '../model/kernel-listener.ts';
import type {
  CommitOrder,
  ExecSpec,
  FileOrder,
  FileStat,
  ImageInfo,
  ImageUpload,
  TaskLimits,
  TaskSpec,
  TaskState,
} from '../model/task-spec.ts';
import { Admissions } from './cluster/admissions.ts';
import { ClusterPlane } from './cluster/cluster-plane.ts';
import { Overlays } from './cluster/overlays.ts';
import { sandboxServices, Vips } from './cluster/vips.ts';
import { probeHost } from './doctor.ts';
import { GatewayPlane } from './plane/gateway-plane.ts';
import { HostPlane } from './plane/host-plane.ts';
import type { AgentTools } from './plane/tools.ts';
import { ResolverKeeper } from './resolver/resolver-keeper.ts';
import { Tasks } from './runtime/tasks.ts';
import { Volumes } from './runtime/volumes.ts';

/** Folders of what outlives the host's next start. */
export type AgentRoots = {
  /** Output of tasks. */
  readonly logs: string;
  readonly volumes: string;
};

/** The privileged plane of one host, in the process that has the privileges. */
export class Agent implements AgentPort {
  readonly #tools: AgentTools;
  readonly #plane: HostPlane;
  readonly #gateway: GatewayPlane;
  readonly #cluster: ClusterPlane;
  readonly #volumes: Volumes;
  readonly #tasks: Tasks;

  constructor(tools: AgentTools, roots: AgentRoots, events: AgentEvents) {
    this.#tools = tools;
    const degraded = (reason: string) => {
      tools.logger.warn(reason);
      events.degraded(reason);
    };
    const nft = new NftTool(tools.exec, tools.native);
    const overlays = new Overlays(tools);
    const vips = new Vips(tools);
    const admissions = new Admissions(tools);
    const services = sandboxServices([new ResolverKeeper(tools), vips, admissions]);
    this.#plane = new HostPlane(tools, nft, services, overlays, degraded);
    const { intent } = this.#plane;
    this.#cluster = new ClusterPlane(tools, nft, intent, { overlays, vips, admissions }, degraded);
    this.#gateway = new GatewayPlane(tools, nft, this.#plane.intent, degraded);
    this.#volumes = new Volumes(tools.exec, roots.volumes);
    this.#tasks = new Tasks(tools, roots.logs, events);
    this.#tasks.adopt();
  }

  async sync(intent: HostIntent): Promise<ApplyReport> {
    const report = await this.#plane.sync(intent);
    await this.#cluster.networksChanged();
    return report;
  }

  async apply(delta: HostDelta): Promise<ApplyReport> {
    const report = await this.#plane.apply(delta);
    if (delta.put.networks || delta.remove.networks) await this.#cluster.networksChanged();
    return report;
  }

  join(cluster: ClusterIntent): Promise<ApplyReport> {
    return this.#cluster.join(cluster);
  }

  doctor(): Promise<readonly Capability[]> {
    return probeHost(this.#tools);
  }

  carry(listeners: readonly KernelListener[]): Promise<readonly CarryFailure[]> {
    return this.#gateway.carry(listeners);
  }

  traffic(): Promise<readonly ListenerTraffic[]> {
    return this.#gateway.traffic();
  }

  images(): Promise<readonly ImageInfo[]> {
    return this.#tasks.images();
  }

  tagImage(id: string, name: string): Promise<void> {
    return this.#tasks.tagImage(id, name);
  }

  removeImage(key: string): Promise<void> {
    return this.#tasks.removeImage(key);
  }

  async uploadImage(upload: ImageUpload): Promise<TaskStreams> {
    return this.#tasks.uploadImage(upload);
  }

  async createVolume(name: string): Promise<string> {
    return this.#volumes.create(name);
  }

  removeVolume(name: string): Promise<void> {
    return this.#volumes.remove(name);
  }

  volumeBytes(name: string): Promise<number> {
    return this.#volumes.bytes(name);
  }

  saveImages(keys: readonly string[]): Promise<TaskStreams> {
    return this.#tasks.saveImages(keys);
  }

  commitTask(order: CommitOrder): Promise<string> {
    return this.#tasks.commit(order);
  }

  createTask(spec: TaskSpec): Promise<void> {
    return this.#tasks.create(spec);
  }

  startTask(id: string): Promise<TaskState> {
    return this.#tasks.start(id);
  }

  async updateFiles(id: string, files: { hosts: string; resolvConf: string }): Promise<void> {
    this.#tasks.updateFiles(id, files);
  }

  statFile(id: string, path: string): Promise<FileStat> {
    return this.#tasks.statFile(id, path);
  }

  openFiles(order: FileOrder): Promise<TaskStreams> {
    return this.#tasks.openFiles(order);
  }

  async signalTask(id: string, signal: string): Promise<void> {
    this.#tasks.signal(id, signal);
  }

  async limitTask(id: string, limits: TaskLimits): Promise<void> {
    this.#tasks.setLimits(id, limits);
  }

  async pauseTask(id: string, paused: boolean): Promise<void> {
    await this.#tasks.pause(id, paused);
  }

  removeTask(id: string): Promise<void> {
    return this.#tasks.remove(id);
  }

  async tasks(): Promise<readonly TaskState[]> {
    return this.#tasks.list();
  }

  async attachTask(id: string): Promise<TaskStreams> {
    return this.#tasks.attach(id);
  }

  startExec(spec: ExecSpec): Promise<TaskStreams> {
    return this.#tasks.exec(spec);
  }

  async resize(id: string, columns: number, rows: number): Promise<void> {
    this.#tasks.resize(id, columns, rows);
  }

  logs(
    id: string,
    query: LogQuery,
    line: (entry: LogEntry) => void,
    ended: () => void,
  ): () => void {
    return this.#tasks.logs(id, query, line, ended);
  }

  async stats(id: string): Promise<TaskStats> {
    return this.#tasks.stats(id);
  }

  top(id: string, psArgs: readonly string[]): Promise<readonly (readonly string[])[]> {
    return this.#tasks.top(id, psArgs);
  }

  /** Stops; networks, tasks and their names live on for the next agent. */
  async close(): Promise<void> {
    await this.#plane.close();
    await this.#gateway.close();
    await this.#cluster.close();
    this.#tasks.release();
  }
}
