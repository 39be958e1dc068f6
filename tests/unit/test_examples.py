"""The match rules of conf/examples, on command lines as the real programs have them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from ctl.model.definition import understand
from ctl.model.match import Marker
from ctl.model.target import parse_target
from ctl.model.verdict import NO, YES

EXAMPLES = Path(__file__).resolve().parents[2] / "conf" / "examples"
JAVA = "/usr/lib/jvm/default-java/bin/java"
HADOOP = (
    f"{JAVA} -Dproc_{{0}} -Djava.net.preferIPv4Stack=true -Dhadoop.log.dir=/opt/hadoop/logs org.apache.hadoop.{{1}}"
)
ZOOKEEPER = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
POSTGRES = "/usr/lib/postgresql/15/bin/postgres"
CELERY = "/opt/app/venv/bin/python /opt/app/venv/bin/celery --app=app worker"

MEANT = [
    ("hdfs-datanode", HADOOP.format("datanode", "hdfs.server.datanode.DataNode")),
    ("hdfs-namenode", HADOOP.format("namenode", "hdfs.server.namenode.NameNode")),
    ("jvm", f"{JAVA} -Xmx512m -cp /opt/gateway/lib/* com.example.gateway.Gateway --port 10009"),
    (
        "kafka@1",
        f"{JAVA} -Xmx4g -server -Xlog:gc*:file=/x -cp /opt/kafka/libs/a.jar kafka.Kafka /etc/kafka/1.properties",
    ),
    ("kyuubi", f"{JAVA} -Xmx4g -cp /opt/kyuubi/jars/*:/opt/kyuubi/conf org.apache.kyuubi.server.KyuubiServer"),
    ("nginx", "nginx: master process /usr/sbin/nginx -c /etc/nginx/nginx.conf -g daemon off;"),
    ("postgresql", f"{POSTGRES} -D /var/lib/postgresql/15/main -c config_file=/x"),
    ("postgresql-forking", f"{POSTGRES} -D /var/lib/postgresql/15/main -c config_file=/x"),
    ("redis", "/usr/bin/redis-server 127.0.0.1:6379"),
    ("redis-forking", "redis-server *:6379 [cluster]"),
    ("web@8080", "/usr/bin/python3 /opt/web/web.py --notice 2 --port 8080"),
    ("worker@1", f"{CELERY} --hostname=worker1@%h --concurrency=4 --loglevel=INFO"),
    ("worker@1", "[celeryd: worker1@host:MainProcess] -active- (worker --hostname=worker1@%h)"),
    ("yarn-nodemanager", HADOOP.format("nodemanager", "yarn.server.nodemanager.NodeManager")),
    ("zookeeper", f"/usr/bin/java -cp /etc/zookeeper/conf:/x.jar {ZOOKEEPER} /etc/zookeeper/conf/zoo.cfg"),
]

NOT_MEANT = [
    ("hdfs-datanode", HADOOP.format("namenode", "hdfs.server.namenode.NameNode")),
    ("hdfs-namenode", HADOOP.format("namenode", "hdfs.server.namenode.NameNodeHttpServer")),
    ("jvm", f"{JAVA} -cp /opt/gateway/lib/* com.example.tool.Tool com.example.gateway.Gateway"),
    ("kafka@1", f"{JAVA} -cp /opt/kafka/libs/a.jar kafka.Kafka /etc/kafka/10.properties"),
    ("kafka@1", f"{JAVA} -cp /opt/kafka/libs/a.jar kafka.Kafka /etc/kafka/2.1.properties"),
    ("kafka@1", f"{JAVA} -cp /opt/kafka/libs/a.jar kafka.admin.ConfigCommand --config /etc/kafka/1.properties"),
    ("kafka@1", "/bin/bash /opt/kafka/bin/kafka-server-start.sh /etc/kafka/1.properties"),
    ("kyuubi", "bash /opt/kyuubi/bin/kyuubi run org.apache.kyuubi.server.KyuubiServer"),
    ("nginx", "nginx: worker process"),
    ("nginx", "/usr/sbin/nginx -c /etc/nginx/nginx.conf -s reload"),
    ("nginx", "nginx: master process /usr/sbin/nginx -c /etc/nginx/nginx.conf.test -g daemon off;"),
    ("postgresql", f"{POSTGRES} -D /var/lib/postgresql/15/main2"),
    ("postgresql", "/usr/lib/postgresql/15/bin/pg_ctl start -D /var/lib/postgresql/15/main"),
    ("postgresql-forking", "postgres: 15/main: checkpointer "),
    ("redis", "redis-cli -p 6379"),
    ("redis-forking", "redis-server 127.0.0.1:63790"),
    ("web@8080", "/usr/bin/python3 /opt/web/web.py --notice 2 --port 80801"),
    ("web@80", "/usr/bin/python3 /opt/web/web.py --notice 2 --port 8080"),
    ("web@8080", "vi /opt/web/web.py --port 8080"),
    ("worker@1", f"{CELERY} --hostname=worker10@%h --concurrency=4"),
    ("worker@1", f"{CELERY} --hostname=worker2@%h --concurrency=1"),
    ("yarn-nodemanager", HADOOP.format("resourcemanager", "yarn.server.resourcemanager.ResourceManager")),
    ("zookeeper", f"/usr/bin/java -cp /x.jar {ZOOKEEPER} /etc/zookeeper/conf2/zoo.cfg"),
    ("zookeeper", "/usr/bin/java -cp /x.jar org.apache.zookeeper.ZooKeeperMain -server localhost:2181"),
]


@pytest.mark.parametrize(("target", "line"), MEANT)
def test_its_main_process_is_meant(target: str, line: str) -> None:
    assert verdict(target, line) == YES


@pytest.mark.parametrize(("target", "line"), NOT_MEANT)
def test_others_are_not(target: str, line: str) -> None:
    assert verdict(target, line) == NO


def test_no_example_is_left_out() -> None:
    for table in (MEANT, NOT_MEANT):
        assert {parse_target(target).definition for target, _ in table} == {
            path.name for path in EXAMPLES.glob("*.toml")
        }


def verdict(name: str, line: str) -> str:
    """Of a process with this command line, which is the right user's."""
    target = parse_target(name)
    raw = tomllib.loads((EXAMPLES / target.definition).read_text(encoding="utf-8"))
    service = understand(raw, target, target.definition, {"run_dir": "/run/ctl", "log_dir": "/var/log/ctl"})
    program = line.partition(" ")[0]
    process = SimpleNamespace(
        uid=33, argv=line.split(" "), command_line=line, executable=program, marker=Marker(),
        mentions=lambda text: text in line.encode(),
    )  # fmt: skip
    return service.rules(33, Marker()).verdict(process)
