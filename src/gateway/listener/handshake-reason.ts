/** A few words for why a handshake failed, for metrics and the access log. */
export function handshakeReason(code: string): string {
  if (code.includes('PEER_DID_NOT_RETURN')) return 'no-client-certificate';
  if (code.includes('VERIFY') || code.includes('CERT')) return 'bad-client-certificate';
  if (code.includes('APPLICATION_PROTOCOL')) return 'no-shared-protocol';
  if (code.includes('VERSION') || code.includes('PROTOCOL')) return 'version';
  if (code.includes('SHARED_CIPHER')) return 'no-shared-cipher';
  if (code.includes('HTTP_REQUEST')) return 'plain-http';
  if (code === 'UNRECOGNIZED_NAME') return 'unrecognized-name';
  return code === 'ECONNRESET' ? 'reset' : 'other';
}
