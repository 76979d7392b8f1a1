/** What directives become, for the documentation and for those that no code judges. */
type Row = {
  /** Separated by spaces. */
  readonly names: string;
  readonly sluice: string;
  /** needless: there is nothing to do; missing: Sluice has nothing of the kind. */
  readonly as?: 'needless' | 'missing';
};

/** Every directive that the importer knows something of. */
export const TABLE: readonly Row[] = [
  { names: 'http stream server', sluice: 'a listener for each address that is listened on' },
  { names: 'listen', sluice: '`bind`, `protocol`, `acceptProxy` for `proxy_protocol`' },
  { names: 'server_name', sluice: '`match.host`, in the order of nginx; expressions too' },
  {
    names: 'location',
    sluice: 'routes in the order of nginx: `=`, `^~`, expressions, the longest prefix',
  },
  { names: 'include', sluice: 'read in place, with `*`' },
  {
    names: 'proxy_pass grpc_pass',
    sluice: '`service`, `rewrite` where it has a path; gRPC: `protocol: h2c` or `h2`',
  },
  {
    names: 'proxy_set_header grpc_set_header',
    sluice: '`rewrite.host`, `headers.request`, `forwarded.headers`',
  },
  { names: 'upstream', sluice: 'a service' },
  { names: 'least_conn ip_hash hash random least_time', sluice: '`balance`' },
  { names: 'sticky', sluice: '`sticky.cookie`' },
  { names: 'keepalive', sluice: '`keepAlive.maxIdle`' },
  {
    names:
      'proxy_connect_timeout proxy_read_timeout proxy_send_timeout grpc_connect_timeout grpc_read_timeout grpc_send_timeout',
    sluice: '`timeouts` of the service',
  },
  {
    names:
      'proxy_next_upstream proxy_next_upstream_tries proxy_next_upstream_timeout grpc_next_upstream grpc_next_upstream_tries grpc_next_upstream_timeout',
    sluice: '`retries`',
  },
  {
    names:
      'proxy_ssl_verify proxy_ssl_name proxy_ssl_server_name proxy_ssl_trusted_certificate proxy_ssl_certificate proxy_ssl_certificate_key grpc_ssl_verify grpc_ssl_name grpc_ssl_server_name grpc_ssl_trusted_certificate grpc_ssl_certificate grpc_ssl_certificate_key',
    sluice: '`tls` of the service',
  },
  { names: 'return', sluice: '`redirect` or `respond`' },
  { names: 'rewrite', sluice: '`redirect.regex`, or `rewrite.regex` with `break`' },
  { names: 'if', sluice: 'a route before the others, when it holds a `return` or a redirect' },
  {
    names: 'set map hostnames',
    sluice: 'put in where they are used; a map that decides becomes routes',
  },
  { names: 'client_max_body_size', sluice: '`limits.maxBodyBytes`, `maxBodyBytes` of routes' },
  {
    names: 'client_header_timeout keepalive_timeout send_timeout',
    sluice: '`timeouts` of the listener',
  },
  {
    names: 'keepalive_requests http2_max_concurrent_streams large_client_header_buffers',
    sluice: '`limits`',
  },
  {
    names:
      'ssl_certificate ssl_certificate_key ssl_protocols ssl_ciphers ssl_reject_handshake ssl_client_certificate ssl_verify_client ssl_crl ssl http2',
    sluice: '`tls` of the listener',
  },
  {
    names: 'set_real_ip_from real_ip_header real_ip_recursive',
    sluice: '`forwarded.trust`, `acceptProxy.from`',
  },
  { names: 'limit_req limit_req_zone limit_req_status', sluice: '`rateLimit`' },
  {
    names: 'auth_basic auth_basic_user_file',
    sluice: '`basicAuth`; only plain passwords can be kept',
  },
  { names: 'allow deny limit_except internal', sluice: '`access`, or an answer of 403 or 404' },
  { names: 'error_page', sluice: '`errorPages`, where a location names the file' },
  { names: 'add_header proxy_hide_header', sluice: '`headers.response`' },
  {
    names: 'underscores_in_headers merge_slashes',
    sluice: '`http.underscoreHeaders`, `http.slashes`',
  },
  { names: 'ssl_preread', sluice: '`protocol: tls-passthrough`, routed by `sni`' },
  { names: 'proxy_timeout', sluice: '`timeouts.idle` of the service' },
  { names: 'proxy_protocol proxy_protocol_version', sluice: '`proxyProtocol` of the service' },
  { names: 'proxy_responses proxy_requests', sluice: 'a flow ends by `timeouts.idle`' },
  { names: 'proxy_ssl', sluice: '`tls` of the service' },
  {
    names:
      'user worker_processes worker_cpu_affinity worker_priority worker_rlimit_nofile worker_rlimit_core worker_shutdown_timeout worker_threads daemon master_process pid lock_file timer_resolution pcre_jit load_module thread_pool env working_directory debug_points events use accept_mutex accept_mutex_delay multi_accept worker_connections worker_aio_requests debug_connection epoll_events',
    sluice: 'nothing: processes are set up by themselves (`workers`, `user`)',
    as: 'needless',
  },
  {
    names:
      'sendfile sendfile_max_chunk tcp_nopush tcp_nodelay aio aio_write directio output_buffers postpone_output reset_timedout_connection lingering_close lingering_time lingering_timeout client_body_buffer_size client_body_temp_path client_header_buffer_size client_body_in_file_only client_body_in_single_buffer connection_pool_size request_pool_size server_names_hash_bucket_size server_names_hash_max_size variables_hash_max_size variables_hash_bucket_size types_hash_max_size types_hash_bucket_size map_hash_max_size map_hash_bucket_size proxy_headers_hash_max_size proxy_headers_hash_bucket_size proxy_buffering proxy_buffer_size proxy_buffers proxy_busy_buffers_size proxy_max_temp_file_size proxy_temp_file_write_size proxy_temp_path proxy_request_buffering proxy_http_version proxy_socket_keepalive proxy_ignore_client_abort grpc_buffer_size grpc_socket_keepalive preread_buffer_size preread_timeout http2_body_preread_size http2_chunk_size http2_recv_buffer_size',
    sluice: 'nothing: bodies are passed on as they come, in bounded buffers',
    as: 'needless',
  },
  {
    names:
      'types default_type charset index server_tokens log_not_found open_file_cache open_file_cache_valid open_file_cache_min_uses open_file_cache_errors etag if_modified_since port_in_redirect server_name_in_redirect absolute_redirect msie_padding chunked_transfer_encoding zone resolver resolver_timeout uninitialized_variable_warn rewrite_log log_subrequest status_zone gzip_types gzip_vary gzip_proxied gzip_comp_level gzip_min_length gzip_buffers gzip_disable gzip_http_version limit_req_log_level limit_conn_log_level auth_delay volatile proxy_pass_header proxy_pass_request_headers proxy_pass_request_body',
    sluice: 'nothing: it has no use without what it is set for',
    as: 'needless',
  },
  {
    names:
      'ssl_session_cache ssl_session_timeout ssl_session_tickets ssl_session_ticket_key ssl_prefer_server_ciphers ssl_dhparam ssl_ecdh_curve ssl_buffer_size ssl_early_data ssl_verify_depth ssl_trusted_certificate ssl_stapling ssl_stapling_verify ssl_stapling_file ssl_stapling_responder ssl_handshake_timeout proxy_ssl_session_reuse proxy_ssl_protocols proxy_ssl_ciphers proxy_ssl_verify_depth grpc_ssl_session_reuse grpc_ssl_protocols',
    sluice: 'nothing: Sluice chooses; sessions are resumed by shared tickets',
    as: 'needless',
  },
  {
    names: 'access_log error_log log_format',
    sluice: '`log.access`, which each deployment sets for itself',
    as: 'needless',
  },
  {
    names: 'root alias try_files autoindex expires add_before_body',
    sluice: 'files are not served',
    as: 'missing',
  },
  {
    names: 'gzip gzip_static gunzip brotli brotli_static zstd',
    sluice: 'answers are not compressed',
    as: 'missing',
  },
  {
    names:
      'proxy_cache proxy_cache_path proxy_cache_valid proxy_cache_key proxy_cache_bypass proxy_no_cache proxy_cache_use_stale proxy_cache_lock proxy_cache_methods proxy_cache_min_uses proxy_store',
    sluice: 'answers are not cached',
    as: 'missing',
  },
  {
    names: 'proxy_redirect proxy_cookie_path proxy_cookie_domain proxy_cookie_flags',
    sluice: 'fields that endpoints send are not translated',
    as: 'missing',
  },
  {
    names: 'proxy_intercept_errors recursive_error_pages',
    sluice: 'answers of endpoints are kept',
    as: 'missing',
  },
  {
    names: 'fastcgi_pass uwsgi_pass scgi_pass memcached_pass',
    sluice: 'only HTTP, gRPC, TCP and UDP are spoken',
    as: 'missing',
  },
  { names: 'auth_request auth_jwt satisfy', sluice: 'the location is closed', as: 'missing' },
  {
    names: 'limit_conn limit_conn_zone limit_conn_status',
    sluice: '`limits.maxConnectionsPerSource` of the listener, by hand',
    as: 'missing',
  },
  {
    names: 'limit_rate limit_rate_after proxy_download_rate proxy_upload_rate',
    sluice: 'no bandwidth is bounded',
    as: 'missing',
  },
  {
    names: 'client_body_timeout',
    sluice: '`limits.minBodyRate` bounds slow bodies',
    as: 'missing',
  },
  { names: 'proxy_bind grpc_bind', sluice: 'the kernel chooses the address', as: 'missing' },
  { names: 'proxy_method proxy_set_body', sluice: 'requests keep method and body', as: 'missing' },
  {
    names: 'sub_filter sub_filter_once sub_filter_types',
    sluice: 'bodies are not changed',
    as: 'missing',
  },
  {
    names: 'mirror geo geoip2 split_clients perl js_content mail',
    sluice: 'nothing of the kind',
    as: 'missing',
  },
  { names: 'http3 quic_retry', sluice: 'no HTTP/3', as: 'missing' },
];

const rows = new Map(TABLE.flatMap((row) => row.names.split(' ').map((name) => [name, row])));

/** The row of a directive; undefined: nothing is said of it. */
export function rowOf(name: string): Row | undefined {
  return rows.get(name);
}
