import {
  type ClusterService,
  KIND,
  type ServiceSpec,
  type UpdateProgress,
  type UpdateRule,
} from '../../../model/cluster.ts';
import type { Change } from '../../../store/embedded-store.ts';
import { timestamp } from '../../ids.ts';
import { Agenda } from './agenda.ts';
import { takesTasks, unmetBy } from './node-fitness.ts';
import {
  following,
  hasFailed,
  isCurrent,
  isServing,
  isUsed,
  isWanted,
  type Service,
  type Slot,
  servicesOf,
  slotsOf,
  type Task,
  turned,
} from './slots.ts';
import type { Plan, Stage } from './stage.ts';
import { UpdateRun } from './update-run.ts';
import type { ClusterView, Touched } from './view.ts';

type State = UpdateProgress['state'];

const PAUSED: readonly (State | undefined)[] = ['paused', 'rollback_paused'];
const GOING: readonly (State | undefined)[] = ['updating', 'rollback_started'];

/** Replaces the tasks of services that are not made as their services are now, by their rules. */
export class Updater implements Stage {
  readonly #agenda = new Agenda();
  readonly #runs = new Map<string, UpdateRun>();

  plan(view: ClusterView, touched: Touched, now: number, wall: number): Plan {
    const groups: Change[][] = [];
    for (const id of this.#agenda.take(servicesOf(view, touched), now)) {
      const service = view.services.get(id);
      // Tasks of a job go on as they were begun.
      if (service?.value.job) continue;
      if (service) groups.push(...this.#ofService(service, view, now, wall));
      else this.#runs.delete(id);
    }
    return { groups, wakeAt: this.#agenda.wakeAt };
  }

  #ofService(service: Service, view: ClusterView, now: number, wall: number): Change[][] {
    const { id, progress } = service.value;
    const slots = [...slotsOf(view, id)].filter(([, slot]) => isUsed(slot));
    const old = slots.filter(([, slot]) => isOld(slot, service.value, view));
    const goes = GOING.includes(progress?.state);
    if (PAUSED.includes(progress?.state) || (old.length === 0 && !goes)) {
      this.#runs.delete(id);
      return [];
    }
    const run = this.#runOf(service.value, wall);
    const rule = ruleOf(service.value);
    const places = new Set(old.map(([place]) => place));
    run.look(new Map(slots), places, service.value, view, rule, now);
    const failed = run.failedBy(rule);
    if (goes && failed && rule.failureAction !== 'continue') {
      return [[stopped(service, rule, failed, wall)]];
    }
    if (old.length === 0) {
      const over = run.overAt(rule);
      if (over !== undefined && over <= now) return [[completed(service, wall)]];
      if (over !== undefined) this.#agenda.note(id, over);
      return [];
    }
    const next = run.nextAt(rule, now);
    if (next !== undefined) this.#agenda.note(id, next);
    const turn = inOrder(old.map(([, slot]) => slot)).slice(0, run.free(rule, now));
    return [
      ...(goes ? [] : [[started(service, wall)]]),
      ...turn.map((slot) => replaced(service, slot, rule, view, wall)),
    ];
  }

  #runOf(service: ClusterService, wall: number): UpdateRun {
    const known = this.#runs.get(service.id);
    if (known?.specVersion === service.specVersion) return known;
    const run = new UpdateRun(service, wall);
    this.#runs.set(service.id, run);
    return run;
  }
}

/** Whether a slot has a task to be replaced; one of a node that takes none is left alone. */
function isOld({ nodeId, slot, tasks }: Slot, service: ClusterService, view: ClusterView): boolean {
  const node = view.nodes.get(nodeId)?.value;
  const { constraints } = service.spec.template;
  const isPlace = node && takesTasks(node) && unmetBy(nodeId, constraints, view) === undefined;
  if (slot === 0 && !isPlace) return false;
  const kept = tasks.findLast(isWanted);
  const latest = tasks.findLast(({ value }) => value.desired !== 'remove');
  const ended = latest && hasFailed(latest) ? latest : undefined;
  if ([kept, ended].some((task) => task && isCurrent(task, service, view))) return false;
  if (kept || ended) return true;
  // Nothing is wanted: a node gets its task with or without an update.
  return slot > 0 && latest !== undefined && !isCurrent(latest, service, view);
}

function ruleOf({ spec, progress }: ClusterService): UpdateRule {
  return progress?.state === 'rollback_started' ? spec.rollback : spec.update;
}

/** Those first whose latest task does not serve: to replace it costs nothing; then the newest. */
function inOrder(slots: readonly Slot[]): Slot[] {
  const rank = ({ tasks }: Slot): number => {
    const latest = tasks.findLast(isWanted);
    if (!latest) return 0;
    return isServing(latest) ? 1 : -latest.value.specVersion;
  };
  return [...slots].sort((a, b) => rank(a) - rank(b) || a.slot - b.slot);
}

function replaced(
  service: Service,
  slot: Slot,
  { order }: UpdateRule,
  view: ClusterView,
  wall: number,
): Change[] {
  const wanted = slot.tasks.filter(isWanted);
  // One from before another update that had not got far: it is what this one asks for.
  const kept = wanted.findLast((task) => isCurrent(task, service.value, view));
  const stays = (task: Task) => task === kept || (order === 'start-first' && isServing(task));
  const stops = wanted.filter((task) => !stays(task)).map((task) => turned(task, 'shutdown', wall));
  return kept ? stops : [...stops, following(service, slot, view, wall)];
}

function told(
  { value, version }: Service,
  state: State,
  message: string,
  wall: number,
  more: Partial<ClusterService> = {},
): Change {
  const now = timestamp(wall);
  const ends = state === 'completed' || state === 'rollback_completed';
  const started = GOING.includes(value.progress?.state) ? value.progress?.started : undefined;
  const progress: UpdateProgress = {
    ...{ state, message, started: started ?? now, completed: ends ? now : undefined },
  };
  const next: ClusterService = { ...value, ...more, progress, updated: now };
  return { kind: KIND.service, id: value.id, value: next, expected: version };
}

function started(service: Service, wall: number): Change {
  return told(service, 'updating', 'update in progress', wall);
}

function completed(service: Service, wall: number): Change {
  return service.value.progress?.state === 'rollback_started'
    ? told(service, 'rollback_completed', 'rollback completed', wall)
    : told(service, 'completed', 'update completed', wall);
}

/** What follows when too many tasks have failed. A rollback is never rolled back. */
function stopped(service: Service, rule: UpdateRule, taskId: string, wall: number): Change {
  const { progress, previous, labels, previousLabels = labels, specVersion } = service.value;
  const why = `due to failure or early termination of task ${taskId}`;
  if (progress?.state === 'rollback_started') {
    return told(service, 'rollback_paused', `rollback paused ${why}`, wall);
  }
  if (rule.failureAction !== 'rollback' || !previous) {
    return told(service, 'paused', `update paused ${why}`, wall);
  }
  const back: { spec: ServiceSpec } & Partial<ClusterService> = {
    ...{ spec: previous, labels: previousLabels, previous: undefined },
    specVersion: specVersion + 1,
  };
  return told(service, 'rollback_started', `update rolled back ${why}`, wall, back);
}
