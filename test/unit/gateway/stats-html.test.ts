import assert from 'node:assert/strict';
import { test } from 'node:test';
import { statsHtml } from '../../../src/gateway/stats/stats-html.ts';
import { STAT_TYPE, statCsv } from '../../../src/model/stat-row.ts';

const HOSTILE = `"><script>alert('1')</script>&`;
const row = {
  ...{ pxname: HOSTILE, svname: HOSTILE, type: STAT_TYPE.server, iid: 2, sid: 1, addr: HOSTILE },
  ...{ status: HOSTILE, check_status: HOSTILE, last_chk: HOSTILE, check_code: 200 },
};

test('nothing that it tells of becomes markup', () => {
  const page = { rows: [row], info: { Version: HOSTILE, Uptime: HOSTILE }, path: HOSTILE };
  const html = statsHtml({ ...page, admin: true, hideVersion: false, outcome: HOSTILE });
  assert.doesNotMatch(html, /<script|alert\('/);
  assert.match(html, /&#60;script&#62;/);
});

test('CSV quotes what would break a line', () => {
  const text = statCsv([{ ...row, pxname: 'p' }]);
  assert.ok(text.includes(`\np,"""><script>`), text);
  assert.ok(statCsv([{ ...row, last_chk: 'a, "b"' }]).includes(',"a, ""b""",'));
});
