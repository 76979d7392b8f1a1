import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from './lab.ts';
import { eventually, refused, row } from './rows.ts';
import { swarmRows } from './swarm.ts';

const FILE = `
services:
  web:
    image: host
    command: ["sleep", "600"]
    hostname: "{{.Service.Name}}-{{.Task.Slot}}"
    environment:
      DB: db
    networks:
      back: {}
      front:
        aliases: [w1]
    ports:
      - "8080:80"
      - { target: 53, published: 5353, protocol: udp, mode: host }
    secrets: [s1]
    configs:
      - { source: c1, target: /c1, mode: 0440 }
    extra_hosts: ["a:192.0.2.7"]
    stop_grace_period: 1s
    deploy:
      replicas: 2
      labels: { l: v }
      placement:
        constraints: [node.role==manager]
        preferences: [{ spread: node.labels.dc }]
      resources:
        limits: { cpus: "0.5", memory: 50M }
      restart_policy: { condition: on-failure, delay: 5s, max_attempts: 3, window: 120s }
      update_config: { parallelism: 2, delay: 10s, failure_action: rollback, order: start-first }
      rollback_config: { parallelism: 1 }
    logging: { driver: json-file, options: { max-size: 1m } }
  db:
    image: host
    command: ["sleep", "600"]
    networks: [back]
    deploy: { mode: global, endpoint_mode: dnsrr }
networks:
  front: {}
  back:
    internal: true
    attachable: true
    ipam: { config: [{ subnet: 10.30.0.0/24 }] }
secrets:
  s1: { file: ./data }
configs:
  c1: { file: ./data }
`;

function deploy(lab: Lab, text: string) {
  writeFileSync(join(lab.folder, 'data'), 'data');
  const path = join(lab.folder, 'stack.yml');
  writeFileSync(path, text);
  return lab.docker('stack', 'deploy', '--detach', '-c', path, 'st');
}

const names = (lab: Lab, kind: string) =>
  lab.ok(kind, 'ls', '--filter', 'label=com.docker.stack.namespace=st', '--format', '{{.Name}}');

swarmRows([
  row('DS-59', 'a stack of services, networks, secrets and configurations', async (lab) => {
    const first = await deploy(lab, FILE);
    assert.equal(first.code, 0, first.err);
    assert.match(first.out, /Creating service st_web/);
    assert.equal(await lab.ok('stack', 'ls', '--format', '{{.Name}} {{.Services}}'), 'st 2');
    const services = ['stack', 'services', '--format', '{{.Name}} {{.Mode}} {{.Image}}', 'st'];
    assert.deepEqual((await lab.ok(...services)).split('\n').sort(), [
      'st_db global host:latest',
      'st_web replicated host:latest',
    ]);
    assert.deepEqual((await names(lab, 'network')).split('\n').sort(), ['st_back', 'st_front']);
    assert.equal(await names(lab, 'secret'), 'st_s1');
    assert.equal(await names(lab, 'config'), 'st_c1');
    const format = '{{json .Spec.TaskTemplate.Networks}}';
    const networks = JSON.parse(await lab.ok('service', 'inspect', '-f', format, 'st_web'));
    const tasks = ['stack', 'ps', '--format', '{{.Name}} {{.DesiredState}}', 'st'];
    const listed = async () => (await lab.docker(...tasks)).out;
    for (const name of ['st_web.1', 'st_web.2', 'st_db.[a-z0-9]{25}']) {
      await eventually(listed, new RegExp(`^${name} Running$`, 'm'));
    }
    assert.ok(networks.every(({ Target }: { Target: string }) => /^[a-z0-9]{25}$/.test(Target)));
  }),
  row('DS-59', 'the same again changes nothing but what differs', async (lab) => {
    assert.equal((await deploy(lab, FILE)).code, 0);
    const format = '{{.Spec.Mode.Replicated.Replicas}}';
    await eventually(async () => {
      // Addresses are given to the services meanwhile, and each changes their version.
      const { code, out, err } = await deploy(lab, FILE.replace('replicas: 2', 'replicas: 3'));
      return code === 0 ? out : err;
    }, /Updating service st_web/);
    assert.equal(await lab.ok('service', 'inspect', '-f', format, 'st_web'), '3');
    writeFileSync(join(lab.folder, 'data'), 'other');
    const path = join(lab.folder, 'stack.yml');
    refused(
      await lab.docker('stack', 'deploy', '--detach', '-c', path, 'st'),
      /only updates to Labels are allowed/,
    );
  }),
  row('DS-59', 'a stack goes as a whole', async (lab) => {
    assert.equal((await deploy(lab, FILE)).code, 0);
    await eventually(async () => {
      const { out, err } = await lab.docker('stack', 'rm', 'st');
      return `${out}${err}`;
    }, /Nothing found in stack: st/);
    for (const kind of ['service', 'network', 'secret', 'config']) {
      await eventually(async () => `${await names(lab, kind)}.`, /^\.$/);
    }
  }),
]);
