const [mode, starttls, implicit, mx, path, many] = process.argv.slice(2);
const login = mode !== 'plain';
const authMethod = ['LOGIN', 'CRAM-MD5'].includes(mode) ? mode : 'PLAIN';
const transport = require('nodemailer').createTransport({
  host: '127.0.0.1', port: Number(mode === 'TLS' ? implicit : login ? starttls : mx),
  secure: mode === 'TLS', requireTLS: login, ignoreTLS: !login, authMethod,
  auth: login ? { user: 'carol@local.example', pass: 'pencil' } : undefined,
  tls: { rejectUnauthorized: false },
});
const to = [...Array(Number(many)).keys()].map((n) => `r${n}@local.example`);
if (mode === 'SMTPUTF8') to[0] = 'gr\u00fcn@local.example';
const dsn = mode === 'DSN' ? { id: 'x', return: 'headers', notify: ['success'] } : undefined;
const envelope = { from: 'carol@local.example', to, dsn, use8BitMime: true };
const raw = require('fs').readFileSync(path);
transport.sendMail({ envelope, raw, dsn }).catch((e) => { console.error(e); process.exit(1); });
