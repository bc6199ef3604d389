#!/bin/busybox sh
# The first process of a virtual machine of the lab: it starts the agent, then does what the host asks on the console.
# Its lines for the host begin with `lab:`. What it writes is in tmpfs, which IMA does not measure.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t securityfs securityfs /sys/kernel/security
mount -t tmpfs run /run
mount -t tmpfs -o mode=755 data /data
while read -r module; do
    insmod "/modules/$module.ko" || echo "lab: no module $module"
done </modules/order
mount -t efivarfs efivarfs /sys/firmware/efi/efivars
ifconfig lo up
ifconfig eth0 10.0.2.15 up
ip route add default via 10.0.2.2

# The disk is an archive of the data folder. A new disk is empty.
tar -xf /dev/vdb -C /data 2>/run/tar.log
rm -rf /data/out
[ ! -x /bin/implant ] || /bin/implant

sekisho agent --config /etc/sekisho/agent.toml </dev/null >/run/agent.out 2>/run/agent.log &
agent=$!
echo "lab: started"
while :; do
    read -r word rest </run/agent.out
    if [ "$word" = ready ]; then
        echo "lab: ready"
        break
    fi
    if ! kill -0 "$agent" 2>/dev/null; then
        wait "$agent"
        echo "lab: stopped $? $(tail -n 3 /run/agent.log | tr '\n' ' ')"
        break
    fi
    usleep 200000
done

while read -r word; do
    case "$word" in
    svid)
        sekisho svid fetch --agent-socket /data/agent/agent.sock -o json >/run/svid.json 2>/run/svid.err
        echo "lab: svid $(grep -o 'spiffe://[^"]*' /run/svid.json | sort -u | tr '\n' ' ')$(tail -n 1 /run/svid.err)"
        ;;
    violate)
        # A file is read while another program has it open for writing: IMA cannot know what was read.
        echo one >/changing
        exec 6>>/changing
        cat /changing >/dev/null
        exec 6>&-
        echo "lab: violate"
        ;;
    off)
        kill "$agent" 2>/dev/null && wait "$agent"
        mkdir /data/out
        cat /sys/kernel/security/tpm0/binary_bios_measurements >/data/out/event.log
        cat /sys/kernel/security/ima/ascii_runtime_measurements >/data/out/ima.txt
        for pcr in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do
            echo "$pcr $(cat /sys/class/tpm/tpm0/pcr-sha256/$pcr)"
        done >/data/out/pcrs
        cp /run/agent.log /data/out/agent.log
        tar -cf /dev/vdb -C /data . 2>/run/tar.log && sync && echo "lab: off"
        poweroff -f
        ;;
    esac
done
