import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Works with an installation as an integrator does, by the Java clients with their own defaults: describes the topics, produces
 * the activation of a subscriber, and consumes what follows from it in a group. A line of output for each:
 * "topic NAME PARTITIONS", "produced TOPIC", "consumed TYPE SUBJECT TENANT SPECVERSION".
 * Run: java -cp 'KAFKA/*' Outsider.java BOOTSTRAP PREFIX TENANT MSISDN
 */
public class Outsider {
    public static void main(String[] args) throws Exception {
        String bootstrap = args[0];
        String prefix = args[1];
        describe(bootstrap, prefix);
        produce(bootstrap, prefix + ".events.inbound", args[2], args[3]);
        consume(bootstrap, prefix + ".safeguards", args[3]);
    }

    static void describe(String bootstrap, String prefix) throws Exception {
        try (var admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            var ours = admin.listTopics().names().get().stream().filter(name -> name.startsWith(prefix + ".")).toList();
            for (var e : new TreeMap<>(admin.describeTopics(ours).allTopicNames().get()).entrySet()) {
                System.out.println("topic " + e.getKey() + " " + e.getValue().partitions().size());
            }
        }
    }

    static void produce(String bootstrap, String topic, String tenant, String msisdn) throws Exception {
        String event = """
                {"specversion":"1.0","id":"java-1","source":"crm","type":"subscriber.activated","tenant":"%s","subject":"%s",
                "time":"%s","data":{"class_of_service":"gold"}}""".formatted(tenant, msisdn, Instant.now());
        var record = new ProducerRecord<>(topic, msisdn, event);
        record.headers().add("content-type", "application/cloudevents+json".getBytes(StandardCharsets.UTF_8));
        try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap), new StringSerializer(), new StringSerializer())) {
            System.out.println("produced " + producer.send(record).get().topic());
        }
    }

    static void consume(String bootstrap, String topic, String msisdn) {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "group.id", "java-outsider", "auto.offset.reset", "earliest");
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            while (true) {
                for (ConsumerRecord<String, byte[]> r : consumer.poll(Duration.ofSeconds(1))) {
                    if (msisdn.equals(header(r, "ce_subject"))) {
                        System.out.println("consumed " + header(r, "ce_type") + " " + msisdn + " " + header(r, "ce_tenant") + " "
                                + header(r, "ce_specversion"));
                        consumer.commitSync();
                        return;
                    }
                }
            }
        }
    }

    static String header(ConsumerRecord<String, byte[]> r, String name) {
        Header h = r.headers().lastHeader(name);
        return h == null ? "" : new String(h.value(), StandardCharsets.UTF_8);
    }
}
