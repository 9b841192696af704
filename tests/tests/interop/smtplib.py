import smtplib, ssl, sys
mode, starttls, implicit, mx, path, many = sys.argv[1:]
context = ssl._create_unverified_context()
sender, to = 'carol@local.example', ['alice@local.example']
if int(many) > 1:
    to = ['r%d@local.example' % n for n in range(int(many))]
options, wishes = [], []
if mode == 'SMTPUTF8':
    to, options = ['gr\u00fcn@local.example'], ['SMTPUTF8', 'BODY=8BITMIME']
if mode == 'DSN':
    options, wishes = ['RET=HDRS', 'ENVID=x'], ['NOTIFY=SUCCESS,FAILURE']
if mode == 'plain':
    client = smtplib.SMTP('127.0.0.1', int(mx))
elif mode == 'TLS':
    client = smtplib.SMTP_SSL('127.0.0.1', int(implicit), context=context)
else:
    client = smtplib.SMTP('127.0.0.1', int(starttls))
    client.starttls(context=context)
with client:
    client.ehlo()
    if mode != 'plain':
        client.user, client.password = sender, 'pencil'
        mechanism = mode if mode in ('PLAIN', 'LOGIN', 'CRAM-MD5') else 'PLAIN'
        client.auth(mechanism, getattr(client, 'auth_' + mechanism.lower().replace('-', '_')))
    text = open(path, 'rb').read().replace(b'\n', b'\r\n')
    client.sendmail(sender, to, text, options, wishes)
