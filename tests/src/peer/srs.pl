# What Mail::SRS makes of the lines on standard input: verb, secret, domain, address.
use strict;
use warnings;
use Mail::SRS;

$| = 1;
while (my $line = <STDIN>) {
    chomp $line;
    my ($verb, $secret, $domain, $address) = split /\t/, $line;
    my $srs = Mail::SRS->new(Secret => $secret, HashLength => 6, HashMin => 6, MaxAge => 21);
    my $answer = eval {
        $verb eq 'forward' ? $srs->forward($address, $domain) : $srs->reverse($address);
    };
    my $why = $@ =~ s/\n.*//rs;
    print defined $answer ? $answer : "refused: $why", "\n";
}
